"""Tasks that need the results of others: held until those have ended, then queued, or ended likewise.

A task inherits the end of one that it needs and that has no value: the same state, the same exception. So nobody in the middle has to look into anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from fedproxy.protocol.states import TaskState
from fedproxy.service.ledger import Ledger
from fedproxy.service.rows import LiveTask

_UNKNOWN_S = 60.0
Release = Callable[[LiveTask], None]
Inherit = Callable[[LiveTask, TaskState, bytes], None]


class Dependencies:
    """Who waits for whom. ``release`` queues a task; ``inherit`` ends one."""

    def __init__(self, ledger: Ledger, release: Release, inherit: Inherit) -> None:
        self._ledger, self._release, self._inherit = ledger, release, inherit
        self._waiting_for: defaultdict[bytes, list[LiveTask]] = defaultdict(list)
        self._missing: dict[int, set[bytes]] = {}
        self._unknown: dict[bytes, float | None] = {}
        """Needed tasks that are not here (yet: another connection may be about to bring them) → when that was first checked."""

    def __len__(self) -> int:
        return len(self._missing)

    def watch(self, task: LiveTask) -> None:
        """Hold a task that is durable until all it needs has ended."""
        self._missing[task.seq] = set(task.needs)
        for needed in set(task.needs):
            self._waiting_for[needed].append(task)
        for needed in set(task.needs):
            self.look(needed)

    def forget(self, task: LiveTask) -> None:
        """The task was ended from outside."""
        for needed in self._missing.pop(task.seq, ()):
            others = [other for other in self._waiting_for.pop(needed, ()) if other.seq != task.seq]
            if others:
                self._waiting_for[needed] = others

    def find(self, task: LiveTask) -> LiveTask | None:
        """The task that is held, given another reading of it."""
        return next((each for needed in task.needs for each in self._waiting_for.get(needed, ()) if each.seq == task.seq), None)

    def look(self, needed: bytes) -> None:
        """See what is durable of a task that others may wait for, and tell them."""
        waiting = self._waiting_for.get(needed)
        if not waiting:
            return
        user = waiting[0].user  # ids are unique: a task of another user is none that these could need
        rows = self._ledger.rows("SELECT state, CASE state WHEN 11 THEN result END FROM tasks WHERE id = ? AND user = ?", (needed, user))
        if not rows:
            self._unknown.setdefault(needed, None)
        elif TaskState(rows[0][0]).terminal:
            state = TaskState(rows[0][0])
            body = rows[0][1] if state is TaskState.FAILED else f"task {needed.hex()}, which it needs, ended {state.name}".encode()
            self._ended(needed, state, body)

    def check(self, now: float) -> None:
        """Called every second: look for those that were not known; give up on them after a minute."""
        for needed, since in list(self._unknown.items()):
            del self._unknown[needed]
            self.look(needed)
            if needed in self._unknown:
                first = now if since is None else since
                self._unknown[needed] = first
                if now - first > _UNKNOWN_S:
                    del self._unknown[needed]
                    self._ended(needed, TaskState.CANCELLED, f"it needs task {needed.hex()}, which is not known".encode())

    def _ended(self, needed: bytes, state: TaskState, body: bytes) -> None:
        for task in self._waiting_for.pop(needed, ()):
            missing = self._missing.get(task.seq)
            if missing is None:
                continue
            missing.discard(needed)
            if state is not TaskState.SUCCEEDED:
                self.forget(task)
                self._inherit(task, state, body)
            elif not missing:
                del self._missing[task.seq]
                self._release(task)
