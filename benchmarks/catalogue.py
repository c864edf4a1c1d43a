"""Which benchmarks there are."""

from __future__ import annotations

import importlib

from benchmarks.cases import Benchmark

NAMES = ("dispatch", "data", "proxy", "store", "small-objects", "broadcast")

PEERS = ("dask", "htex", "ray", "proxystore", "ppe", "loky", "raw")
"""Names that ``--peers`` takes."""


def load(name: str) -> Benchmark:
    """The benchmark of that name."""
    module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
    benchmark: Benchmark = module.BENCHMARK
    return benchmark
