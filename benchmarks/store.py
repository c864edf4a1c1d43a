"""Put and get of one array, 1 kB to 1 GB, through every kind of store and as the machine itself does it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import cast

import numpy as np

from benchmarks.arrays import check_equal
from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.functions import PAGE_BYTES, Array
from benchmarks.peers.base import ObjectStore
from benchmarks.peers.redis_server import redis_backend
from benchmarks.rows import Metric

METRICS = (
    Metric("time", "us", "lower"),
    Metric("bandwidth", "MB/s", "higher"),
    Metric("first_access", "us", "lower"),
)

SYSTEMS = {
    "fedproxy/shm": "benchmarks.peers.fedproxy_store:shm",
    "fedproxy/file": "benchmarks.peers.fedproxy_store:file",
    "fedproxy/redis": "benchmarks.peers.fedproxy_store:redis",
    "proxystore/devshm": "benchmarks.peers.proxystore_store:devshm",
    "proxystore/file": "benchmarks.peers.proxystore_store:file",
    "proxystore/redis": "benchmarks.peers.proxystore_store:redis",
    "ray": "benchmarks.peers.ray_store:store",
    "raw/memcpy": "benchmarks.peers.raw_stores:memcpy",
    "raw/shm": "benchmarks.peers.raw_stores:devshm",
    "raw/file": "benchmarks.peers.raw_stores:file",
    "raw/redis": "benchmarks.peers.raw_redis:socket_store",
    "raw/redis-py": "benchmarks.peers.raw_redis:client_store",
}

SIZES = {"1kB": 1_000, "100kB": 100_000, "1MB": 1_000_000, "10MB": 10_000_000, "100MB": 100_000_000, "1GB": 10**9}
QUICK_LARGEST = "100MB"


def operations(nbytes: int) -> int:
    """How often within one repetition: about 20 MB in all, 3 to 200 times; the largest once."""
    return 1 if nbytes > SIZES["100MB"] else max(3, min(200, 20_000_000 // nbytes))


def cases(quick: bool) -> Sequence[Case]:
    """Put and get by size; quick leaves out 1 GB."""
    sizes = {name: size for name, size in SIZES.items() if not quick or size <= SIZES[QUICK_LARGEST]}
    found = []
    for name, size in sizes.items():
        params = {"bytes": size, "operations": operations(size)}
        warm = {"operations": min(3, operations(size))}
        found += [Case(f"{verb}-{name}", params, warm, 3 if quick else 5) for verb in ("put", "get")]
    return found


def source(nbytes: int) -> Array:
    """Bytes that do not compress."""
    return np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)


def touched(array: Array) -> int:
    """Reads one byte of every page."""
    return int(array[::PAGE_BYTES].sum(dtype=np.uint64))


def put(case: Case, store: ObjectStore) -> Sample:
    """Each object is evicted before the next is put, so stores may recycle memory: the steady state.

    The disk is idle at the start, so that nobody waits for what another system has written.
    """
    array = source(case.number("bytes"))
    times = []
    os.sync()
    for _ in range(case.number("operations")):
        before = perf_counter()
        key = store.put(array)
        times.append(perf_counter() - before)
        store.evict(key)
    return result(times, array.nbytes)


def get(case: Case, store: ObjectStore) -> Sample:
    """To the last page touched; ``first_access`` is the time to the first."""
    array = source(case.number("bytes"))
    expected, key = touched(array), store.put(array)
    times, firsts = [], []
    for _ in range(case.number("operations")):
        before = perf_counter()
        found = store.get(key)
        found[0]
        firsts.append(perf_counter() - before)
        total = touched(found)
        times.append(perf_counter() - before)
        check_equal((total, found.nbytes), (expected, array.nbytes))
        del found
    store.evict(key)
    return {**result(times, array.nbytes), "first_access": 1e6 * median(firsts)}


def result(times: Sequence[float], nbytes: int) -> Sample:
    """Of the median operation."""
    return {"time": 1e6 * median(times), "bandwidth": nbytes / 1e6 / median(times)}


def measure(case: Case, subject: object) -> Sample:
    """One repetition."""
    verb = put if case.name.startswith("put") else get
    return verb(case, cast("ObjectStore", subject))


BENCHMARK = Benchmark("store", METRICS, SYSTEMS, cases, measure, redis_backend)
