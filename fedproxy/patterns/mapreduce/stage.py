"""One stage of a job: many tasks of one kind, each until an attempt of it succeeds.

A lost worker or a failing store costs an attempt and the task is started again; an exception of the user's function ends the job, unless
retries are allowed. When a task finds that its input is gone, the stage stops at once and says what must be made again: the rest of its tasks
would find the same.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from attrs import define, field, frozen

from fedproxy import Client, TaskFuture
from fedproxy.errors import FedproxyError, JobError, JobTimeoutError, SegmentsLostError, StoreError, TaskDeadError, TaskError, TaskLostError
from fedproxy.patterns.mapreduce.speculation import Patience, stragglers

_TICK_S = 0.2
_END_S = 15.0
_WORKER_DIED = (TaskLostError, TaskDeadError)


@frozen
class Rules:
    """How often a task is started, and how long all may take."""

    retries: int
    """After an exception of the user's functions."""
    retries_on_loss: int
    """After the loss of a worker, or a failure of a store."""
    deadline: float | None
    """By `time.monotonic`."""
    patience: Patience | None
    """None: stragglers are left alone."""
    workers: int


@define
class Outcome:
    """What a stage came to. ``lost``: what was found to be gone; then only some of ``done`` are there."""

    done: dict[int, Any] = field(factory=dict)
    lost: set[int] = field(factory=set)
    bad_store: str | None = None
    attempts: int = 0


class Stage:
    """Starts tasks and watches them.

    Args:
        start: submits an attempt: (index, attempt) → future.
        on_done: called with each value as it comes.
    """

    def __init__(self, name: str, client: Client, rules: Rules, start: Callable[[int, int], TaskFuture[Any]], on_done: Callable[[Any], None]) -> None:
        self.name, self._client, self._rules, self._start, self._on_done = name, client, rules, start, on_done
        self._events: queue.SimpleQueue[TaskFuture[Any]] = queue.SimpleQueue()
        self._live: dict[TaskFuture[Any], tuple[int, float]] = {}
        self.attempts: dict[int, int] = {}
        """How many attempts of each index were ever started."""
        self._failures: dict[int, int] = {}
        self._losses: dict[int, int] = {}

    def run(self, indexes: Iterable[int]) -> Outcome:
        """Until all are done, or input is found to be lost.

        Raises:
            JobError: a task was lost, or its store failed, too often.
            JobTimeoutError: the time is over.
            Exception: what a function of the user raised.
        """
        left = set(indexes)
        outcome = Outcome()
        took: list[float] = []
        tail_since: float | None = None
        try:
            for index in sorted(left):
                self._launch(index)
            while left and not outcome.lost:
                future = self._next()
                if future is not None:
                    self._ended(future, left, outcome, took)
                if self._rules.patience is not None and len(left) <= self._rules.workers:
                    tail_since = tail_since or time.monotonic()
                    self._double(left, took, tail_since, self._rules.patience)
            return outcome
        finally:
            self.cancel()

    def _launch(self, index: int) -> None:
        attempt = self.attempts.get(index, 0)
        self.attempts[index] = attempt + 1
        future = self._start(index, attempt)
        self._live[future] = (index, time.monotonic())
        future.add_done_callback(lambda _: self._events.put(future))

    def _next(self) -> TaskFuture[Any] | None:
        deadline = self._rules.deadline
        if deadline is not None and time.monotonic() > deadline:
            raise JobTimeoutError(f"the job's time was over while {len(self._live)} tasks of its {self.name} stage had not ended")
        with suppress(queue.Empty):
            return self._events.get(timeout=_TICK_S)
        return None

    def _ended(self, future: TaskFuture[Any], left: set[int], outcome: Outcome, took: list[float]) -> None:
        known = self._live.pop(future, None)
        if known is None or known[0] not in left:
            return  # a twin was faster
        index = known[0]
        failure = None if future.cancelled() else future.exception()
        if failure is None and not future.cancelled():
            value = future.result()
            outcome.done[index] = value
            left.discard(index)
            times = future.timeline()
            took.append(times.get("ended", 0.0) - times.get("started", 0.0))
            self._on_done(value)
            self._cancel([twin for twin, (other, _) in self._live.items() if other == index])
        elif isinstance(failure, SegmentsLostError):
            outcome.lost.update(failure.sources)
            outcome.bad_store = failure.store or outcome.bad_store
        else:
            self._again(index, failure)

    def _again(self, index: int, failure: BaseException | None) -> None:
        """Start it once more, if it may be.

        Raises:
            Exception: it may not.
        """
        if any(other == index for other, _ in self._live.values()):
            return  # its twin still runs
        lost = failure is None or isinstance(failure, (*_WORKER_DIED, StoreError))
        counts, most = (self._losses, self._rules.retries_on_loss) if lost else (self._failures, self._rules.retries)
        counts[index] = counts.get(index, 0) + 1
        if counts[index] <= most:
            self._launch(index)
            return
        if lost or (isinstance(failure, FedproxyError) and isinstance(failure, TaskError)):
            raise JobError(f"{self.name} task {index} failed {counts[index]} times; the last time: {failure}") from failure
        assert failure is not None
        raise failure

    def _double(self, left: set[int], took: list[float], tail_since: float, patience: Patience) -> None:
        running = [index for index, _ in self._live.values() if index in left]
        twins = {index for index in running if running.count(index) > 1}
        for index in stragglers(time.monotonic(), tail_since, took, set(running), twins, patience):
            self._launch(index)

    def _cancel(self, futures: list[TaskFuture[Any]]) -> None:
        ids = [future.task_id for future in futures if not future.done()]
        if ids:
            with suppress(FedproxyError):
                self._client.cancel(ids)

    def cancel(self) -> None:
        """End what still runs, and wait until it has ended: nobody writes after that."""
        live = [future for future in self._live if not future.done()]
        self._cancel(live)
        deadline = time.monotonic() + _END_S
        for future in live:
            with suppress(BaseException):
                future.exception(timeout=max(0.0, deadline - time.monotonic()))
        self._live.clear()
