"""Arrays through tasks: 1 MB in and 1 MB out a thousand times, and 200 MB to one worker of the same machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import cast

from benchmarks.arrays import check_equal, check_plus_one, distinct_arrays
from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.functions import Array, add_one, sum_of_pages
from benchmarks.peers.base import STAGE_METRICS, Handle, Pool, SupportsOwnTimes, SupportsStages
from benchmarks.rows import Metric, percentile

METRICS = (
    Metric("throughput", "tasks/s", "higher"),
    Metric("p50", "ms", "lower"),
    Metric("p95", "ms", "lower"),
    Metric("time", "ms", "lower"),
    Metric("memcpy", "ms", "lower"),
    Metric("shm_write", "ms", "lower"),
    Metric("peak_pss", "MB", "lower"),
    Metric("extra_pss", "MB", "lower"),
    *STAGE_METRICS,
)

SYSTEMS = {
    "fedproxy": "benchmarks.peers.fedproxy_pool:pool",
    "dask": "benchmarks.peers.dask_pool:pool",
    "htex": "benchmarks.peers.htex_pool:pool",
    "ray": "benchmarks.peers.ray_pool:pool",
    "proxystore/devshm": "benchmarks.peers.proxystore_pool:devshm",
    "proxystore/file": "benchmarks.peers.proxystore_pool:file",
    "ppe": "benchmarks.peers.executor_pools:ppe",
    "loky": "benchmarks.peers.executor_pools:loky",
    "raw/zeromq": "benchmarks.peers.zeromq_pool:pool",
    "raw/shm": "benchmarks.peers.shm_pool:pool",
    "raw/copy": "benchmarks.peers.copy_pool:pool",
}
POOLS = tuple(system for system in SYSTEMS if system != "raw/copy")

BATCH = 50
WINDOW_BATCHES = 4
"""200 tasks under way: enough to keep two workers busy, and no system has to hold a gigabyte."""


def cases(quick: bool) -> Sequence[Case]:
    """The large array first: what the other cases leave in arenas is then not counted as its memory."""
    tasks, repetitions = (100, 3) if quick else (1_000, 5)
    size, large = {"bytes": 1_000_000}, {"bytes": 200_000_000, "held_bytes": 200_000_000}
    return [
        Case("200MB-one", large, {}, repetitions, 1, ("fedproxy", "ray", "raw/copy")),
        Case("1MB-in-out", {"tasks": tasks, **size}, {"tasks": tasks // 2}, repetitions, 0, POOLS),
        Case("1MB-one", {"tasks": tasks // 10, **size}, {"tasks": 5}, repetitions, 0, POOLS),
    ]


def in_out(case: Case, pool: Pool) -> Sample:
    """All tasks, with a bounded number under way; every result is checked as it comes."""
    arrays = distinct_arrays(case.number("tasks"), case.number("bytes"))
    waiting: deque[list[Array]] = deque(arrays[i : i + BATCH] for i in range(0, len(arrays), BATCH))
    under_way: deque[tuple[list[Array], list[Handle]]] = deque()
    last: list[Handle] = []
    started = perf_counter()
    while waiting or under_way:
        while waiting and len(under_way) < WINDOW_BATCHES:
            sent = waiting.popleft()
            under_way.append((sent, pool.submit_all(add_one, sent)))
        sent, handles = under_way.popleft()
        last = handles
        for array, result in zip(sent, pool.results(list(handles)), strict=True):
            check_plus_one(result, array)
            del result
    throughput = len(arrays) / (perf_counter() - started)
    return {"throughput": throughput, **(pool.stages(last) if isinstance(pool, SupportsStages) else {})}


def one(case: Case, pool: Pool) -> Sample:
    """One task at a time."""
    times = []
    for array in distinct_arrays(case.number("tasks"), case.number("bytes")):
        before = perf_counter()
        result = pool.result(pool.submit(add_one, array))
        check_plus_one(result, array)
        times.append(perf_counter() - before)
        del result
    return {"p50": 1e3 * percentile(times, 50), "p95": 1e3 * percentile(times, 95)}


def large(case: Case, pool: Pool) -> Sample:
    """One large array to a worker that touches every page of it."""
    array = distinct_arrays(1, case.number("bytes"))[0]
    expected = sum_of_pages(array)
    before = perf_counter()
    handle = pool.submit(sum_of_pages, array)
    found = pool.result(handle)
    elapsed = perf_counter() - before
    check_equal(found, expected)
    if isinstance(pool, SupportsOwnTimes):
        return pool.own_times()
    return {"time": 1e3 * elapsed, **(pool.stages([handle]) if isinstance(pool, SupportsStages) else {})}


MEASURES = {"1MB-in-out": in_out, "1MB-one": one, "200MB-one": large}


def measure(case: Case, subject: object) -> Sample:
    """One repetition."""
    return MEASURES[case.name](case, cast("Pool", subject))


BENCHMARK = Benchmark("data", METRICS, SYSTEMS, cases, measure)
