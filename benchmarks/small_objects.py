"""A hundred thousand objects of 100 bytes, one at a time and by batch calls."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, cast

from benchmarks.arrays import check_equal
from benchmarks.cases import Benchmark, Case, Sample, UnsupportedCaseError
from benchmarks.peers.base import BulkStore, ObjectStore
from benchmarks.peers.redis_server import redis_backend
from benchmarks.rows import Metric

METRICS = (
    Metric("rate", "objects/s", "higher"),
    Metric("put_rate", "objects/s", "higher"),
    Metric("get_rate", "objects/s", "higher"),
)

SYSTEMS = {
    "fedproxy/shm": "benchmarks.peers.fedproxy_store:shm",
    "fedproxy/file": "benchmarks.peers.fedproxy_store:file",
    "fedproxy/redis": "benchmarks.peers.fedproxy_store:redis",
    "proxystore/devshm": "benchmarks.peers.proxystore_store:devshm",
    "proxystore/redis": "benchmarks.peers.proxystore_store:redis",
    "ray": "benchmarks.peers.ray_store:store",
    "raw/redis-py": "benchmarks.peers.raw_redis:client_store",
}


def cases(quick: bool) -> Sequence[Case]:
    """Quick: a tenth by batch and a fiftieth one at a time; a rate is a rate."""
    batch, each = (10_000, 2_000) if quick else (100_000, 100_000)
    repetitions = 3 if quick else 5
    size = {"object_bytes": 100}
    return [
        Case("100k-x-100B-batch", {"objects": batch, **size}, {"objects": 1_000}, repetitions),
        Case("100k-x-100B-each", {"objects": each, **size}, {"objects": 200}, repetitions),
    ]


def objects(case: Case) -> list[bytes]:
    """No two alike."""
    return [b"%0*d" % (case.number("object_bytes"), number) for number in range(case.number("objects"))]


def batch(case: Case, store: object) -> Sample:
    """One call for all puts and one for all gets."""
    if not isinstance(store, BulkStore):
        raise UnsupportedCaseError("no batch calls")
    values = objects(case)
    before = perf_counter()
    keys = store.put_batch(values)
    put = perf_counter()
    found = store.get_batch(keys)
    got = perf_counter()
    store.evict_batch(keys)
    return rates(values, found, put - before, got - put)


def each(case: Case, store: object) -> Sample:
    """One call per object."""
    one, values = cast("ObjectStore", store), objects(case)
    before = perf_counter()
    keys = [one.put(value) for value in values]
    put = perf_counter()
    found = [one.get(key) for key in keys]
    got = perf_counter()
    for key in keys:
        one.evict(key)
    return rates(values, found, put - before, got - put)


def rates(values: list[bytes], found: Sequence[Any], put_s: float, get_s: float) -> Sample:
    """Objects per second: put and then got, put alone, got alone."""
    check_equal([bytes(value) for value in found], values)
    count = len(values)
    return {"rate": count / (put_s + get_s), "put_rate": count / put_s, "get_rate": count / get_s}


def measure(case: Case, subject: object) -> Sample:
    """One repetition."""
    return (batch if case.name.endswith("batch") else each)(case, subject)


BENCHMARK = Benchmark("small-objects", METRICS, SYSTEMS, cases, measure, redis_backend)
