"""Tasks on their way to endpoints: what goes out is durable first (state SENT)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode
from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.states import TaskState
from fedproxy.service.core import Core
from fedproxy.service.outgoing import by_size, tasks_message
from fedproxy.service.rows import LiveTask
from fedproxy.service.sessions import Session, Sessions
from fedproxy.service.timers import Timers

_MESSAGE_TASKS = 2_000
_TAKE_BYTES = 64 * 1024 * 1024
_FIRST_PIECE = 16


class Outbound:
    """One for the service: from the queues to the connections, and back where a connection is gone."""

    def __init__(self, core: Core, sessions: Sessions) -> None:
        self._core, self._sessions = core, sessions
        self._loop = asyncio.get_running_loop()
        self._released: set[str] = set()
        """Endpoints with tasks that were just released."""
        self.departing: dict[TaskId, bool] = {}
        """Tasks marked SENT whose commit is under way → whether they are to be cancelled right behind."""
        self.queueing: dict[TaskId, LiveTask] = {}
        """Tasks that are queued as soon as that is durable."""
        self.delayed: dict[int, LiveTask] = {}
        """Queued tasks whose next attempt is not due yet, by their places."""
        self._delays: Timers[int] = Timers(self._due)
        self.returned: Callable[[LiveTask], bool] = lambda _task: False
        """Asked of each task that is about to be queued again: whether it ended instead."""
        self.cancelled: Callable[[LiveTask], None] = lambda _task: None
        """Called with each task that was to be cancelled right behind its sending, which failed."""

    def admit(self, task: LiveTask) -> None:
        """A task that is about to be inserted: mark it SENT in the same commit if the endpoint can take it now."""
        session = self._sessions.get(task.endpoint)
        if task.recalled is not None or (task.deadline and task.deadline <= task.accepted):
            return  # it ends as soon as it is durable
        if task.needs:
            task.state = TaskState.WAITING
        elif session is not None and session.room > 0 and not self._core.queues.length(task.endpoint):
            task.state = TaskState.SENT
            session.reserve([task])
            self.departing[task.id] = False

    def unadmit(self, task: LiveTask) -> None:
        """The insert did not happen."""
        if task.state is TaskState.SENT:
            self._session(task).unreserve([task])
            self.departing.pop(task.id, None)

    def inserted(self, tasks: list[LiveTask]) -> None:
        """These are durable: send those marked so, queue the others."""
        ready: dict[str, list[LiveTask]] = {}
        now = time.time()  # what is in the ledger was written before it was durable; the client is told when it was
        for task in tasks:
            task.committed = now
            if task.state is TaskState.SENT:
                ready.setdefault(task.endpoint, []).append(task)
            elif task.state is TaskState.QUEUED:
                self._core.queues.append(task)
        for batch in ready.values():
            session = self._session(batch[0])
            session.unreserve(batch)
            self.deliver(session, batch)
        for endpoint in {task.endpoint for task in tasks if task.state is TaskState.QUEUED}:
            self.pump(endpoint)

    def pump(self, endpoint_id: str) -> None:
        """Send as much of the endpoint's queue as it takes."""
        session = self._sessions.get(endpoint_id)
        if session is None or not session.room or not self._core.queues.length(endpoint_id):
            return
        ready = self._take(endpoint_id, min(session.room, _MESSAGE_TASKS))
        if not ready:
            self.pump(endpoint_id)
            return
        session.reserve(ready)
        for task in ready:
            task.state = TaskState.SENT
            self.departing[task.id] = False
        self._core.commit.next.sent += ready

        def deliver() -> None:
            session.unreserve(ready)
            self.deliver(session, ready)
            self.pump(endpoint_id)

        self._core.commit.then(deliver)

    def _take(self, endpoint_id: str, most: int) -> list[LiveTask]:
        """The next tasks of a queue, with their payloads: as many as go well together in memory."""
        ready: list[LiveTask] = []
        size, piece = 0, _FIRST_PIECE
        while len(ready) < most and size < _TAKE_BYTES and self._core.queues.length(endpoint_id):
            some = self._take_some(endpoint_id, min(piece, most - len(ready)))
            ready += some
            size += sum(task.size for task in some)
            piece *= 2
        return ready

    def _take_some(self, endpoint_id: str, most: int) -> list[LiveTask]:
        taken = self._core.queues.take(endpoint_id, most)
        on_disk = [entry for entry in taken if isinstance(entry, int)]
        if not on_disk:
            return [entry for entry in taken if not isinstance(entry, int)]
        loaded = {t.seq: t for t in self._core.ledger.load(on_disk, payloads=True) if t.state is TaskState.QUEUED}
        found = (loaded.get(entry) if isinstance(entry, int) else entry for entry in taken)
        return [task for task in found if task is not None]

    def deliver(self, session: Session, tasks: list[LiveTask]) -> None:
        """Send tasks that are marked SENT; without a connection they are queued again."""
        now = time.time()
        for task in tasks:
            task.dispatched = now
        for batch in by_size(tasks):
            if session.peer is None or not self._sessions.send(session, tasks_message(self._core, session, batch)):
                session.drop_connection()
                self.requeue(batch)
                for task in batch:
                    if self.departing.pop(task.id, False):
                        self.cancelled(task)
            else:
                self._departed(session, batch)

    def _departed(self, session: Session, tasks: list[LiveTask]) -> None:
        for task in tasks:
            task.payload = None
            session.sent(task)
        cancelled = tuple(task.id for task in tasks if self.departing.pop(task.id, False))
        if cancelled:
            self._sessions.send(session, [encode(m.Cancel(cancelled))])

    def requeue(self, tasks: Iterable[LiveTask], delay_s: float = 0.0) -> None:
        """Put tasks first in their queues, once that is durable and ``delay_s`` have passed."""
        tasks = list(tasks)
        not_before = time.time() + delay_s if delay_s else 0.0
        for task in tasks:
            task.state = TaskState.QUEUED
            task.not_before = not_before
            self.queueing[task.id] = task
        self._core.commit.next.requeued += tasks

        def put_back() -> None:
            for task in tasks:
                self.queueing.pop(task.id, None)
            if delay_s:
                for task in tasks:
                    self.delay(task, delay_s)
            else:
                self._put_back(tasks)

        self._core.commit.then(put_back)

    def _put_back(self, tasks: list[LiveTask]) -> None:
        tasks = [task for task in tasks if not (task.deadline and self.returned(task))]
        for task in reversed(tasks):
            self._core.queues.put_back(task)
        for endpoint in {task.endpoint for task in tasks}:
            self.pump(endpoint)

    def delay(self, task: LiveTask, delay_s: float) -> None:
        """Hold a queued task until its next attempt is due."""
        self.delayed[task.seq] = task
        self._delays.after(delay_s, task.seq)

    def _due(self, seq: int) -> None:
        task = self.delayed.pop(seq, None)
        if task is not None:
            self._put_back([task])

    def reprioritize(self, task: LiveTask, priority: int) -> None:
        """Give another priority to a task that is QUEUED, or about to be, wherever it stands."""
        aside = self.delayed.get(task.seq) or self.queueing.get(task.id)
        if aside is not None:
            aside.priority = priority
        else:
            self._core.queues.move(task, priority)

    def withdraw(self, task: LiveTask) -> None:
        """Take out a task that is QUEUED, or about to be, wherever it stands: it is not sent. The queue passes over what comes later, too."""
        if self.delayed.pop(task.seq, None) is None:
            self._core.queues.remove(self.queueing.get(task.id, task))

    def release(self, task: LiveTask) -> None:
        """All that the task needs is there: queue it, once that is durable. What is released together is sent in the order of the queue."""
        task.payload = None
        task.state = TaskState.QUEUED
        self.queueing[task.id] = task
        self._core.commit.next.requeued.append(task)

        def queue() -> None:
            self.queueing.pop(task.id, None)
            self._core.queues.append(task)
            if not self._released:
                self._loop.call_soon(self._pump_released)
            self._released.add(task.endpoint)

        self._core.commit.then(queue)

    def _pump_released(self) -> None:
        endpoints, self._released = self._released, set()
        for endpoint in endpoints:
            self.pump(endpoint)

    def _session(self, task: LiveTask) -> Session:
        return self._sessions.of(task.endpoint, task.user)
