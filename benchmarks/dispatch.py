"""No-ops through the whole path: throughput one by one and by map, and the latency of one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import cast

from benchmarks.arrays import check_equal
from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.functions import echo
from benchmarks.peers.base import HOP_METRICS, STAGE_METRICS, Handle, Pool, SupportsHops, SupportsStages
from benchmarks.rows import Metric, percentile

METRICS = (
    Metric("throughput", "tasks/s", "higher"),
    Metric("submit_call", "us", "lower"),
    Metric("p50", "ms", "lower"),
    Metric("p95", "ms", "lower"),
    Metric("p99", "ms", "lower"),
    *STAGE_METRICS,
    *HOP_METRICS,
)

SYSTEMS = {
    "fedproxy": "benchmarks.peers.fedproxy_pool:pool",
    "dask": "benchmarks.peers.dask_pool:pool",
    "dask/bag": "benchmarks.peers.dask_pool:bag",
    "htex": "benchmarks.peers.htex_pool:pool",
    "ray": "benchmarks.peers.ray_pool:pool",
    "ray/actor": "benchmarks.peers.ray_pool:actors",
    "ppe": "benchmarks.peers.executor_pools:ppe",
    "loky": "benchmarks.peers.executor_pools:loky",
    "raw/zeromq": "benchmarks.peers.zeromq_pool:pool",
}


def cases(quick: bool) -> Sequence[Case]:
    """10,000 tasks (quick: 1,000), one by one and by map; 1,000 (quick: 100) one at a time."""
    tasks = 1_000 if quick else 10_000
    repetitions = 3 if quick else 5
    warm = {"tasks": tasks // 10 if quick else tasks // 5}
    return [
        Case("noop-each", {"tasks": tasks}, warm, repetitions),
        Case("noop-batch", {"tasks": tasks}, warm, repetitions),
        Case("latency", {"tasks": tasks // 10}, {"tasks": 50}, repetitions),
        Case("hops", {"tasks": tasks // 10}, {"tasks": 50}, repetitions, systems=("fedproxy",)),
    ]


def each(pool: Pool, tasks: int) -> Sample:
    """Submit one by one, then wait for all."""
    expected = list(range(tasks))
    handles, calls = [], []
    started = perf_counter()
    for number in expected:
        before = perf_counter()
        handles.append(pool.submit(echo, number))
        calls.append(perf_counter() - before)
    values = list(pool.results(handles))
    elapsed = perf_counter() - started
    check_equal(values, expected)
    return {"throughput": tasks / elapsed, "submit_call": 1e6 * median(calls)}


def batch(pool: Pool, tasks: int) -> Sample:
    """One map over all, chunked as the system likes it."""
    expected = list(range(tasks))
    started = perf_counter()
    values = pool.map(echo, expected)
    elapsed = perf_counter() - started
    check_equal(values, expected)
    return {"throughput": tasks / elapsed}


def latency(pool: Pool, tasks: int) -> Sample:
    """Submit one, wait for it, submit the next."""
    times, handles = [], list[Handle]()
    for number in range(tasks):
        before = perf_counter()
        handle = pool.submit(echo, number)
        value = pool.result(handle)
        times.append(perf_counter() - before)
        check_equal(value, number)
        handles.append(handle)
    found = {f"p{percent}": 1e3 * percentile(times, percent) for percent in (50, 95, 99)}
    return {**found, **(pool.stages(handles) if isinstance(pool, SupportsStages) else {})}


def hops(pool: Pool, tasks: int) -> Sample:
    """As `latency`: the median time of each hop, as in funcX (TPDS 2022, Fig. 3)."""
    handles = []
    for number in range(tasks):
        handle = pool.submit(echo, number)
        check_equal(pool.result(handle), number)
        handles.append(handle)
    return cast("SupportsHops", pool).hops(handles)


MEASURES = {"noop-each": each, "noop-batch": batch, "latency": latency, "hops": hops}


def measure(case: Case, subject: object) -> Sample:
    """One repetition."""
    return MEASURES[case.name](cast("Pool", subject), case.number("tasks"))


BENCHMARK = Benchmark("dispatch", METRICS, SYSTEMS, cases, measure)
