"""One 500 MB array to 20 tasks on the node: how long until all have touched it, and in how many copies."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import cast

from benchmarks.arrays import check_equal, distinct_arrays
from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.functions import sum_of_pages
from benchmarks.peers.base import Broadcaster
from benchmarks.rows import Metric

METRICS = (Metric("time", "s", "lower"), Metric("peak_pss", "MB", "lower"), Metric("extra_pss", "MB", "lower"))

SYSTEMS = {
    "fedproxy": "benchmarks.peers.fedproxy_broadcast:broadcaster",
    "ray": "benchmarks.peers.broadcasters:ray_broadcaster",
    "dask": "benchmarks.peers.broadcasters:dask_broadcaster",
    "raw/devshm": "benchmarks.peers.broadcasters:mapped_file",
}


def cases(quick: bool) -> Sequence[Case]:
    """One case; memory is that of the system, without the caller's own array."""
    params = {"bytes": 500_000_000, "tasks": 20, "held_bytes": 500_000_000}
    return [Case("500MB-to-20", params, {}, 3 if quick else 5, 1)]


def measure(case: Case, subject: object) -> Sample:
    """From the array in the caller's hands to the last answer."""
    array, tasks = distinct_arrays(1, case.number("bytes"))[0], case.number("tasks")
    expected = sum_of_pages(array)
    before = perf_counter()
    found = cast("Broadcaster", subject).broadcast(sum_of_pages, array, tasks)
    elapsed = perf_counter() - before
    check_equal(found, [expected] * tasks)
    return {"time": elapsed}


BENCHMARK = Benchmark("broadcast", METRICS, SYSTEMS, cases, measure)
