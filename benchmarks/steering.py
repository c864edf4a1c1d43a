"""Steering as the funcX paper's Table 2 has it: tasks with 1 MB in and 1 MB out, by stage; and how soon the next task runs when a result is ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from time import perf_counter
from typing import Any, Protocol, cast

import numpy as np
from attrs import define

from benchmarks.arrays import check_equal
from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.functions import PAGE_BYTES, Array
from benchmarks.peers.redis_server import redis_backend
from benchmarks.rows import Metric, percentile

STAGES = ("input_write", "worker_read", "result_write", "result_read")
METRICS = (
    *(Metric(stage, "ms", "lower") for stage in STAGES),
    Metric("throughput", "tasks/s", "higher"),
    Metric("reaction_p50", "ms", "lower"),
    Metric("reaction_p95", "ms", "lower"),
    Metric("idle_p50", "ms", "lower"),
    Metric("idle_p95", "ms", "lower"),
)
"""``reaction``: from a task's function having returned to the start of the function that the thinker asked for when it saw that result; ``idle``: from the
end of a task on a worker to the start of the next one on it."""

SYSTEMS = {
    "fedproxy/shm": "benchmarks.peers.steering_fedproxy:shm",
    "fedproxy/file": "benchmarks.peers.steering_fedproxy:file",
    "fedproxy/redis": "benchmarks.peers.steering_fedproxy:redis",
    "colmena/file": "benchmarks.peers.steering_colmena:file",
    "colmena/redis": "benchmarks.peers.steering_colmena:redis",
}
AHEAD = 6
"""Tasks under way beyond those that run, where throughput counts: no system has to hold all of the data at once."""


@define
class Ended:
    """One task: seconds. Times of day are the worker's own."""

    input_write: float
    worker_read: float
    result_write: float
    result_read: float
    started: float
    ended: float
    number: int


class Campaign(Protocol):
    """Sends tasks and takes results in the order in which they end."""

    workers: int

    def send(self, number: int, array: Array) -> None:
        """Ask for ``work(array)``."""
        ...

    def take(self) -> tuple[Ended, Array]:
        """The next result, all of it here."""
        ...


def work(value: Any) -> Array:
    """At the worker: reads every page of its input, returns an array of the same size whose first element says how long that took, in seconds."""
    begun = perf_counter()
    array = np.asarray(value)
    _touched(array)
    seconds = perf_counter() - begun
    result = array + 1.0
    result[0] = seconds
    return result


def _touched(array: Array) -> float:
    return float(array[:: PAGE_BYTES // array.itemsize].sum())


def received(read: Callable[[], Any]) -> tuple[Array, float]:
    """A result, and the seconds until it was read and its last page was touched."""
    begun = perf_counter()
    array = np.asarray(read())
    _touched(array)
    return array, perf_counter() - begun


def cases(quick: bool) -> Sequence[Case]:
    """The paper's 1,000 tasks; quick does a tenth."""
    tasks, repetitions = (100, 3) if quick else (1_000, 5)
    warm = {"tasks": 10}
    return [
        Case("1MB-in-out", {"tasks": tasks, "bytes": 1_000_000, "ahead": AHEAD}, warm, repetitions),
        Case("reaction", {"tasks": tasks, "bytes": 1_000, "ahead": 0}, warm, repetitions),
    ]


def measure(case: Case, subject: object) -> Sample:
    """One repetition: as many tasks under way as there are workers, and ``ahead`` more; each result is answered by the next task."""
    campaign, tasks, size = cast("Campaign", subject), case.number("tasks"), case.number("bytes") // 8
    begun = perf_counter()
    sent = min(tasks, campaign.workers + case.number("ahead"))
    for number in range(sent):
        campaign.send(number, np.full(size, float(number)))
    ended: list[Ended] = []
    cause: dict[int, Ended] = {}
    for _ in range(tasks):
        one, array = campaign.take()
        check_equal((array.shape, float(array[-1])), ((size,), one.number + 1.0))
        ended.append(one)
        if sent < tasks:
            cause[sent] = one
            campaign.send(sent, np.full(size, float(sent)))
            sent += 1
    seconds = perf_counter() - begun
    stages = {stage: 1e3 * mean(getattr(one, stage) for one in ended) for stage in STAGES}
    return {**stages, "throughput": tasks / seconds, **_pauses(ended, cause, campaign.workers)}


def _pauses(ended: Sequence[Ended], cause: dict[int, Ended], workers: int) -> Sample:
    reactions = [one.started - cause[one.number].ended for one in ended if one.number in cause]
    free: list[float] = []
    idle = []
    for one in sorted(ended, key=lambda one: one.started):
        if len(free) == workers:
            last = max((time for time in free if time <= one.started), default=min(free))
            free.remove(last)
            idle.append(one.started - last)
        free.append(one.ended)
    return {
        f"{name}_p{share}": 1e3 * percentile(values, share) for name, values in (("reaction", reactions), ("idle", idle)) for share in (50, 95) if values
    }


BENCHMARK = Benchmark("steering", METRICS, SYSTEMS, cases, measure, redis_backend)
