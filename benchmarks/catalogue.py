"""Which benchmarks there are."""

from __future__ import annotations

import importlib

from benchmarks.cases import Benchmark

NAMES = (
    "dispatch", "data", "proxy", "store", "small-objects", "broadcast", "staging", "batching", "routing", "scale", "soak", "engines", "elasticity",
    "mapreduce", "steering",
)

PEERS = ("dask", "htex", "ray", "proxystore", "ppe", "loky", "colmena", "raw")
"""Names that ``--peers`` takes."""


def module_of(name: str) -> str:
    """The module that defines the benchmark of that name."""
    return f"benchmarks.{name.replace('-', '_')}"


def load(module: str) -> Benchmark:
    """The benchmark that ``module`` defines."""
    benchmark: Benchmark = importlib.import_module(module).BENCHMARK
    return benchmark
