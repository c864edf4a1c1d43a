"""How much can be held at once. Each part is a module of its own, with its cases, metrics and systems; name a new one in `PARTS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from benchmarks import scale_service, scale_workers
from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.rows import Metric

PARTS: tuple[ModuleType, ...] = (scale_workers, scale_service)
"""Modules with ``METRICS``, ``SYSTEMS``, ``cases(quick)`` and ``MEASURES`` (a case's name, up to the first dash → how it is measured)."""


def _joined(what: str) -> dict[str, object]:
    return {name: value for part in PARTS for name, value in getattr(part, what).items()}


def _metrics() -> tuple[Metric, ...]:
    return tuple(dict.fromkeys(metric for part in PARTS for metric in part.METRICS))


def _systems() -> Mapping[str, str]:
    return {name: str(factory) for name, factory in _joined("SYSTEMS").items()}


def cases(quick: bool) -> Sequence[Case]:
    """The cases of all parts."""
    return [case for part in PARTS for case in part.cases(quick)]


def measure(case: Case, subject: object) -> Sample:
    """As the part that the case belongs to does it."""
    measures: dict[str, Callable[[Case, object], Sample]] = {name: how for part in PARTS for name, how in part.MEASURES.items()}
    return measures[case.name.partition("-")[0]](case, subject)


BENCHMARK = Benchmark("scale", _metrics(), _systems(), cases, measure)
