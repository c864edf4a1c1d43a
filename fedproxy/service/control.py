"""What happens to tasks that are not over by somebody's will: cancelled, or given another priority."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from sqlite3 import Connection

from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode
from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.states import TaskState
from fedproxy.service.core import Core
from fedproxy.service.deadlines import Deadlines
from fedproxy.service.endings import Endings
from fedproxy.service.outbound import Outbound
from fedproxy.service.rows import LiveTask
from fedproxy.service.sessions import Sessions


class Control:
    """One for the service."""

    def __init__(self, core: Core, sessions: Sessions, outbound: Outbound, endings: Endings) -> None:
        self._core, self._sessions, self._outbound, self._endings = core, sessions, outbound, endings
        outbound.cancelled = self.cancel
        self.deadlines = Deadlines(core, sessions, outbound, endings, lambda task, reason: self._end_unsent(task, TaskState.EXPIRED, reason, reason))

    def cancel(self, task: LiveTask) -> None:
        """Cancel a task that is not terminal: at once while it is queued; once it was sent, the endpoint is asked to stop it."""
        session = self._sessions.of(task.endpoint, task.user)
        if task.id in session.in_flight:
            self._sessions.send(session, [encode(m.Cancel((task.id,)))])
        elif task.id in self._outbound.departing:
            self._outbound.departing[task.id] = True
        else:
            self._end_unsent(task, TaskState.CANCELLED, "cancelled while it waited for other tasks", "cancelled before it was sent to the endpoint")

    def _end_unsent(self, task: LiveTask, state: TaskState, waiting: str, queued: str) -> None:
        if task.id in self._endings.under_way:
            return
        if task.state is TaskState.QUEUED or task.id in self._outbound.queueing:
            self._outbound.withdraw(task)
            self._endings.end_here(task, state, queued.encode())
        elif task.state is TaskState.WAITING:
            self._endings.dependencies.forget(task)
            self._endings.end_here(task, state, waiting.encode())

    # ------------------------------------------------------------ priorities

    def reprioritize(self, tasks: Iterable[tuple[LiveTask, int]]) -> None:
        """Give tasks that are not terminal other priorities, wherever they wait. Those that were sent are told on once that is durable."""
        rows: list[tuple[int, int]] = []
        sent: defaultdict[str, list[tuple[TaskId, int]]] = defaultdict(list)
        for task, priority in tasks:
            rows.append((priority, task.seq))
            if task.state is TaskState.WAITING and task.id not in self._outbound.queueing:
                held = self._endings.dependencies.find(task)
                if held is not None:
                    held.priority = priority
            elif self._is_queued(task):
                self._outbound.reprioritize(task, priority)
            else:
                sent[task.endpoint].append((task.id, priority))
        if rows:
            self._core.commit.next.other.append(partial(_write_priorities, rows))
        if sent:
            self._core.commit.then(lambda: self._tell_priorities(sent))

    def _is_queued(self, task: LiveTask) -> bool:
        queued = task.state is TaskState.QUEUED or task.id in self._outbound.queueing
        return queued and task.id not in self._outbound.departing and task.id not in self._endings.under_way

    def _tell_priorities(self, sent: dict[str, list[tuple[TaskId, int]]]) -> None:
        for endpoint, items in sent.items():
            session = self._sessions.get(endpoint)
            if session is None:
                continue
            there = tuple((i, priority) for i, priority in items if i in session.in_flight)
            for task_id, priority in there:
                session.in_flight[task_id].priority = priority
            if there:
                self._sessions.send(session, [encode(m.Reprioritize(there))])


def _write_priorities(rows: list[tuple[int, int]], connection: Connection) -> None:
    connection.executemany("UPDATE tasks SET priority = ? WHERE seq = ? AND state < 10", rows)
