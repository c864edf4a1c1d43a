"""Writes how tasks end: each once, pushed to whoever waits for it, and told to the tasks that need its value."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.messages import Outcome
from fedproxy.protocol.states import TaskState
from fedproxy.service.core import Core
from fedproxy.service.dependencies import Dependencies, Release
from fedproxy.service.ledger import Transaction
from fedproxy.service.rows import Ending, LiveTask

_NO_OUTCOME = Outcome(b"", 0, 0, 0)


class Endings:
    """One for the service."""

    def __init__(self, core: Core, release: Release) -> None:
        self._core = core
        self.under_way: set[TaskId] = set()
        """Tasks of which a result is being committed: not yet to be acknowledged, not to be taken twice."""
        self.dependencies = Dependencies(core.ledger, release, self.end_here)

    def end(self, task: LiveTask, state: TaskState, body: bytes, outcome: Outcome = _NO_OUTCOME, *, own_verdict: bool) -> None:
        """Write a task's only ending, and push it to whoever waits. The caller asks for the commit, and calls `settled` after it.

        What an endpoint says is pushed at once: after a crash it says so again. An ``own_verdict`` of the service would be forgotten and might
        turn out another way: it is pushed when it is durable.
        """
        core = self._core
        core.done_seq += 1
        self.under_way.add(task.id)
        task.state = state
        ending = Ending(task, state, core.done_seq, time.time(), outcome.times, outcome.moved, body, outcome.refs, outcome.ran,
                        outcome.used)
        self.work(own_verdict=own_verdict).endings.append(ending)
        if own_verdict:
            core.commit.then(lambda: core.streams.push(task.user, task.group, ending.done(), body))
        else:
            core.streams.push(task.user, task.group, ending.done(), body)
        core.admission.ended(task.user)
        stats = core.stats.of(task.user)
        stats.tasks_finished += 1
        stats.bytes_out += len(body)

    def work(self, *, own_verdict: bool) -> Transaction:
        """The transaction that an ending belongs to: nobody waits for one that is pushed at once and that no task depends on."""
        return self._core.commit.next if own_verdict or self.dependencies else self._core.commit.unhurried

    def end_here(self, task: LiveTask, state: TaskState, body: bytes) -> None:
        """End a task by the service's own verdict, with all that follows."""
        self.end(task, state, body, own_verdict=True)
        done_seq = self._core.done_seq
        self._core.commit.then(lambda: self.settled([task.id], done_seq))

    def settled(self, ids: Sequence[bytes], done_seq: int) -> None:
        """These endings, up to this place in their order, are durable."""
        self.under_way.difference_update(TaskId(i) for i in ids)
        if self.dependencies:
            self._look(ids)
        self._core.streams.committed = max(self._core.streams.committed, done_seq)

    def hold(self, task: LiveTask) -> None:
        """Keep a task until what it needs has ended; the ends that are just being written are looked at again when they are."""
        task.payload = None  # it is on disk; what waits for others may wait for long
        self.dependencies.watch(task)
        ending = [TaskId(i) for i in task.needs if i in self.under_way]
        if ending:
            self._core.commit.hurry()
            self._core.commit.then(lambda: self._look(ending))

    def _look(self, ids: Iterable[bytes]) -> None:
        for task_id in ids:
            self.dependencies.look(task_id)
