"""10,000 no-ops with the agent's batching and without: the comparison of funcX (TPDS 2022, section 5.5: 118 s without, 6.7 s with)."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Protocol, cast

from benchmarks.arrays import check_equal
from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.functions import echo
from benchmarks.peers.base import Pool
from benchmarks.rows import Metric

METRICS = (Metric("time", "s", "lower"),)

SYSTEMS = {"fedproxy": "benchmarks.peers.fedproxy_batching:pools"}


class Pools(Protocol):
    """The same system with and without batching, behind one service."""

    @property
    def batched(self) -> Pool: ...

    @property
    def unbatched(self) -> Pool: ...


def cases(quick: bool) -> Sequence[Case]:
    """10,000 tasks (quick: 2,000), one submit each."""
    tasks, repetitions = (2_000, 3) if quick else (10_000, 5)
    name = f"{tasks // 1000}k-noop"
    return [Case(f"{name}-{mode}", {"tasks": tasks}, {"tasks": 200}, repetitions) for mode in ("on", "off")]


def measure(case: Case, subject: object) -> Sample:
    """From the first submit to the last result."""
    pools = cast("Pools", subject)
    pool = pools.batched if case.name.endswith("-on") else pools.unbatched
    expected = list(range(case.number("tasks")))
    started = perf_counter()
    values = list(pool.results([pool.submit(echo, number) for number in expected]))
    elapsed = perf_counter() - started
    check_equal(values, expected)
    return {"time": elapsed}


BENCHMARK = Benchmark("batching", METRICS, SYSTEMS, cases, measure)
