"""What a proxy costs: using it when it is resolved, making, sending and resolving it."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Sequence
from time import perf_counter
from timeit import Timer
from typing import Any, cast

from benchmarks.arrays import check_equal
from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.peers.base import ProxyKit
from benchmarks.rows import Metric

METRICS = (Metric("time", "ns", "lower"), Metric("size", "bytes", "lower"))

SYSTEMS = {
    "fedproxy": "benchmarks.peers.fedproxy_proxy:kit",
    "proxystore": "benchmarks.peers.proxystore_proxy:kit",
    "raw": "benchmarks.peers.plain_object:kit",
}
PROXIES = ("fedproxy", "proxystore")

BULK = 100


class Point:
    """Something with an attribute."""

    def __init__(self) -> None:
        self.x = 1


def nothing() -> None:
    """Something to call."""


def cases(quick: bool) -> Sequence[Case]:
    """Operations on a resolved proxy a million times (quick: 200,000), others some thousands of times."""
    many = {"operations": 200_000 if quick else 1_000_000}
    some = {"operations": 2_000 if quick else 10_000, "object_bytes": 100}
    repetitions = 3 if quick else 5
    warm = {"operations": 1_000}
    used = [Case(name, many, warm, repetitions) for name in ("getitem", "getattr", "call")]
    moved = [Case(name, some, warm, repetitions, 0, PROXIES) for name in ("create", "pickle", "unpickle", "resolve")]
    sizes = [Case(name, {"object_bytes": 100}, {}, 1, 0, PROXIES) for name in ("pickled", "pickled-bulk")]
    return [*used, *moved, *sizes]


def per_operation(statement: str, operations: int, **names: object) -> Sample:
    """Time of one ``statement``, with the loop round it: alike for all systems."""
    return {"time": 1e9 * Timer(statement, globals=dict(names)).timeit(operations) / operations}


def getitem(kit: ProxyKit, case: Case) -> Sample:
    return per_operation("p[1]", case.number("operations"), p=kit.wrap([1, 2, 3]))


def getattr_(kit: ProxyKit, case: Case) -> Sample:
    return per_operation("p.x", case.number("operations"), p=kit.wrap(Point()))


def call(kit: ProxyKit, case: Case) -> Sample:
    return per_operation("p()", case.number("operations"), p=kit.wrap(nothing))


def payload(case: Case) -> bytes:
    return b"x" * case.number("object_bytes")


def create(kit: ProxyKit, case: Case) -> Sample:
    return per_operation("make(key)", case.number("operations"), make=kit.proxy, key=kit.put(payload(case)))


def pickle_(kit: ProxyKit, case: Case) -> Sample:
    proxy = kit.proxy(kit.put(payload(case)))
    return per_operation("dumps(p, 5)", case.number("operations"), dumps=pickle.dumps, p=proxy)


def unpickle(kit: ProxyKit, case: Case) -> Sample:
    data = pickle.dumps(kit.proxy(kit.put(payload(case))), protocol=5)
    return per_operation("loads(data)", case.number("operations"), loads=pickle.loads, data=data)


def resolve(kit: ProxyKit, case: Case) -> Sample:
    """Each of distinct objects once: no cache has seen it."""
    values = [b"%0*d" % (case.number("object_bytes"), i) for i in range(case.number("operations"))]
    proxies = [kit.proxy(kit.put(value)) for value in values]
    gc.collect()
    started = perf_counter()
    for proxy in proxies:
        kit.resolve(proxy)
    elapsed = perf_counter() - started
    check_equal([bytes(proxy) for proxy in proxies], values)
    return {"time": 1e9 * elapsed / len(proxies)}


def pickled(kit: ProxyKit, case: Case) -> Sample:
    return {"size": len(pickle.dumps(kit.proxy(kit.put(payload(case))), protocol=5))}


def pickled_bulk(kit: ProxyKit, case: Case) -> Sample:
    """Per proxy, a hundred in one pickle."""
    proxies = [kit.proxy(kit.put(payload(case))) for _ in range(BULK)]
    return {"size": len(pickle.dumps(proxies, protocol=5)) / BULK}


MEASURES: dict[str, Callable[[Any, Case], Sample]] = {
    "getitem": getitem,
    "getattr": getattr_,
    "call": call,
    "create": create,
    "pickle": pickle_,
    "unpickle": unpickle,
    "resolve": resolve,
    "pickled": pickled,
    "pickled-bulk": pickled_bulk,
}


def measure(case: Case, subject: object) -> Sample:
    """One repetition."""
    return MEASURES[case.name](cast("ProxyKit", subject), case)


BENCHMARK = Benchmark("proxy", METRICS, SYSTEMS, cases, measure)
