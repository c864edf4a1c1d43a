"""What the ledger writes and reads: one class for each kind of row."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from attrs import define, field, frozen

from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.messages import Done
from fedproxy.protocol.states import TaskState

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[tuple[float, float, float, float], tuple[int, int]]).decode


@define
class LiveTask:
    """A task that is not terminal, as the service holds it in memory. ``payload`` is None when it is only on disk."""

    seq: int
    id: TaskId
    user: str
    group: str
    spec: bytes
    endpoint: str
    state: TaskState
    created: float
    accepted: float
    size: int
    key: str | None = None
    digest: bytes = b""
    payload: bytes | None = field(default=None, repr=False)
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    acked: bool = False
    committed: float = 0.0
    dispatched: float = 0.0
    needs: tuple[bytes, ...] = ()
    priority: int = 0
    deadline: float = 0.0
    """When it must have started: seconds since the epoch by the service's clock; 0: no matter."""
    not_before: float = 0.0
    """When the next attempt is due, by the same clock."""
    memo: bytes = b""
    recall: bytes = b""
    """A task whose result is this one's, too, if the objects that it leads to are still in their stores."""
    recalled: bytes | None = field(default=None, repr=False)
    """The value, where it is known from an earlier call."""


@frozen
class Ending:
    """A terminal state to be written."""

    task: LiveTask
    state: TaskState
    done_seq: int
    finished: float
    times: tuple[float, float, float, float]
    moved: tuple[int, int]
    body: bytes = field(repr=False)
    refs: bool = False

    def done(self) -> Done:
        """What the client is told."""
        task = self.task
        stations = (task.created, task.accepted, task.committed, task.dispatched, *self.times, self.finished)
        return Done(task.id, int(self.state), len(self.body), task.attempt, stations, self.moved)

    def packed_times(self) -> bytes:
        """The endpoint's part of the timeline, for the ledger."""
        return _encode((self.times, self.moved))


def unpack_times(data: bytes | None) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    """The inverse of `Ending.packed_times`."""
    return _decode(data) if data else ((0.0, 0.0, 0.0, 0.0), (0, 0))


DONE_COLUMNS = "id, state, attempt, created, accepted, committed, dispatched, finished, times, result, done_seq"


def done_from_row(row: Sequence[object]) -> tuple[Done, bytes, int]:
    """A finished task, its body and its place in the order of endings, from `DONE_COLUMNS`."""
    task_id, state, attempt, created, accepted, committed, dispatched, finished, packed, result, done_seq = row
    times, moved = unpack_times(packed)  # type: ignore[arg-type]
    body: bytes = result or b""  # type: ignore[assignment]
    stations = (created or 0.0, accepted or 0.0, committed or 0.0, dispatched or 0.0, *times, finished or 0.0)
    done = Done(task_id, state, len(body), attempt, stations, moved)  # type: ignore[arg-type]
    return done, body, done_seq  # type: ignore[return-value]
