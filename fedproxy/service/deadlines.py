"""Tasks that must have started by some time, or never.

Strategy: the service's monotonic clock decides, nobody else's. What it still has it ends; of what it has sent, the agent knows whether a worker has had it,
so the agent is told that the time is up: now, and again whenever it comes back. A task that comes back unstarted after its time ends then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode
from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.states import TaskState
from fedproxy.service.core import Core
from fedproxy.service.endings import Endings
from fedproxy.service.outbound import Outbound
from fedproxy.service.rows import LiveTask
from fedproxy.service.sessions import Session, Sessions
from fedproxy.service.timers import Timers

_LOOK_AGAIN_S = 0.5
Expire = Callable[[LiveTask, str], None]


class Deadlines:
    """One for the service. ``expire`` ends a task that was not sent. A task that has started once keeps its retries, however late."""

    def __init__(self, core: Core, sessions: Sessions, outbound: Outbound, endings: Endings, expire: Expire) -> None:
        self._core, self._sessions, self._outbound, self._endings, self._expire = core, sessions, outbound, endings, expire
        self._timers: Timers[tuple[str, TaskId]] = Timers(self._due)
        """(user, task id)."""
        self._late: dict[TaskId, str] = {}
        """Tasks past their time that are with their endpoint."""
        outbound.returned = self._returned

    def watch(self, task: LiveTask, *, restored: bool = False) -> None:
        """A task that is durable and not over. One that is read back has what the service's own clock says is left of its time."""
        if task.deadline:
            self._timers.after(task.deadline - (time.time() if restored else task.accepted), (task.user, task.id))

    def passed_at_once(self, task: LiveTask) -> bool:
        """Whether its time was up when it came."""
        return bool(task.deadline) and task.deadline <= task.accepted

    def _due(self, due: tuple[str, TaskId]) -> None:
        user, task_id = due
        if task_id in self._outbound.departing or task_id in self._endings.under_way:
            self._timers.after(_LOOK_AGAIN_S, due)  # in the middle of a commit
            return
        for task in self._core.ledger.find(user, [task_id]):
            if task.attempt:
                continue
            if task.state is not TaskState.SENT:
                self._expire(task, _reason(task))
                continue
            self._late[task_id] = task.endpoint
            session = self._sessions.get(task.endpoint)
            if session is not None and task_id in session.in_flight:
                self._sessions.send(session, [encode(m.Cancel(expired=(task_id,)))])

    def opened(self, session: Session) -> None:
        """An endpoint is back: say again what it may not have heard."""
        late = tuple(i for i, endpoint in self._late.items() if endpoint == session.endpoint and i in session.in_flight)
        if late:
            self._sessions.send(session, [encode(m.Cancel(expired=late))])

    def _returned(self, task: LiveTask) -> bool:
        """Whether a task that is about to be queued again ends instead."""
        if self._late.pop(task.id, None) is None or task.attempt:
            return False
        self._endings.end_here(task, TaskState.EXPIRED, _reason(task).encode())
        return True

    def check(self) -> None:
        """Called every second: forget those that have ended."""
        for task_id, endpoint in list(self._late.items()):
            session = self._sessions.get(endpoint)
            if (session is None or task_id not in session.in_flight) and task_id not in self._endings.under_way:
                del self._late[task_id]


def _reason(task: LiveTask) -> str:
    return f"it had not started within its deadline of {task.deadline - task.accepted:g} s"
