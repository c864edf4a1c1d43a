"""What is only looked at: what running tasks have written so far, and how far an endpoint is with a task.

In memory, bounded: what counts of a task's output comes with the end of each attempt, and is durable then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from fedproxy.protocol.codec import Buffer, encode
from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.messages import Output, Piece, Place, Where, Written, WrittenAck
from fedproxy.protocol.written import extended
from fedproxy.service.sessions import Session

_MOST_BYTES = 64 * 1024 * 1024


class LiveOutput:
    """The output of running tasks. When there is too much, what was told longest ago goes first."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._tasks: OrderedDict[TaskId, tuple[int, Output]] = OrderedDict()

    def add(self, piece: Piece) -> None:
        """A task has written more. The first word of a new attempt ends what the last one wrote."""
        task_id = TaskId(piece.id)
        attempt, output = self._tasks.get(task_id, (piece.attempt, Output()))
        self.pop(task_id)
        if attempt != piece.attempt:
            output = Output()
        if piece.stream == 1:
            output = replace(output, out=extended(output.out, piece.at, piece.data))
        else:
            output = replace(output, err=extended(output.err, piece.at, piece.data))
        self._tasks[task_id] = piece.attempt, output
        self._bytes += _size(output)
        while self._bytes > self._most and len(self._tasks) > 1:
            self.pop(next(iter(self._tasks)))

    def of(self, task_id: TaskId) -> tuple[int, Output] | None:
        """Attempt and output of a running task, if it wrote anything."""
        return self._tasks.get(task_id)

    def pop(self, task_id: TaskId) -> Output | None:
        """The attempt is over: what it wrote, if it wrote anything."""
        found = self._tasks.pop(task_id, None)
        if found is None:
            return None
        self._bytes -= _size(found[1])
        return found[1]


def _size(output: Output) -> int:
    return sum(len(text.head) + len(text.tail) for text in (output.out, output.err))


class Looking:
    """Asks endpoints, and hears what they tell of tasks that run."""

    def __init__(self, send: Callable[[Session, Sequence[Buffer]], bool]) -> None:
        self._send = send
        self.live = LiveOutput()
        self._asked: dict[TaskId, list[asyncio.Future[Place]]] = {}

    def heard(self, session: Session, message: Place | Written) -> None:
        """An endpoint tells something of its tasks; what it says of others is passed over."""
        if isinstance(message, Place):
            for asked in self._asked.pop(TaskId(message.id), ()) if TaskId(message.id) in session.in_flight else ():
                if not asked.done():
                    asked.set_result(message)
            return
        for piece in message.pieces:
            task = session.in_flight.get(TaskId(piece.id))
            if task is not None and task.attempt == piece.attempt:
                self.live.add(piece)
        self._send(session, [encode(WrittenAck())])

    async def place(self, session: Session | None, task_id: TaskId, *, timeout_s: float = 1.0) -> Place | None:
        """How far an endpoint is with a task that it was sent; None if it does not say in time."""
        if session is None or task_id not in session.in_flight or not self._send(session, [encode(Where(task_id))]):
            return None
        asked: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        waiting = self._asked.setdefault(task_id, [])
        waiting.append(asked)
        try:
            return await asyncio.wait_for(asked, timeout_s)
        except TimeoutError:
            return None
        finally:
            waiting.remove(asked)
            if not waiting and self._asked.get(task_id) is waiting:
                del self._asked[task_id]
