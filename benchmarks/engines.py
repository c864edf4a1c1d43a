"""No-ops through each engine, against Parsl's HTEX alone: what bundling gains, and what the service and durability cost.

``htex`` is plain HTEX in its fastest form (no encryption, prefetch, no DataFlowKernel, no service). ``fedproxy/parsl-alone`` is our engine on
an HTEX of the same size, encrypted, without client, service and journal; ``fedproxy/parsl`` is the whole path, durable.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.cases import Benchmark, Case
from benchmarks.dispatch import METRICS, measure

SYSTEMS = {
    "fedproxy/parsl": "benchmarks.peers.fedproxy_engines:parsl",
    "fedproxy/parsl-alone": "benchmarks.peers.engine_alone:parsl",
    "fedproxy/local": "benchmarks.peers.fedproxy_engines:local",
    "htex": "benchmarks.peers.htex_pool:pool",
}


def cases(quick: bool) -> Sequence[Case]:
    """10,000 tasks (quick: 2,000) submitted one by one; 500 (quick: 100) one at a time."""
    tasks = 2_000 if quick else 10_000
    repetitions = 3 if quick else 5
    return [
        Case("noop-each", {"tasks": tasks}, {"tasks": tasks // 5}, repetitions),
        Case("latency", {"tasks": tasks // 20}, {"tasks": 20}, repetitions),
    ]


BENCHMARK = Benchmark("engines", METRICS, SYSTEMS, cases, measure)
