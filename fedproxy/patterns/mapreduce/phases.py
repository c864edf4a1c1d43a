"""The six phases of a job: how long its tasks took in each."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from attrs import frozen

from fedproxy.patterns.mapreduce.plan import PHASES, Spent


@frozen
class Phase:
    """Seconds of tasks in one phase."""

    name: str
    tasks: int
    mean_s: float
    p50_s: float
    p95_s: float
    max_s: float
    total_s: float
    """Of all tasks; those of different workers overlap."""


def phases(spent: Iterable[Spent]) -> list[Phase]:
    """The phases in their order, from what each task took."""
    everything = list(spent)
    return [_phase(name, sorted(each.seconds[name] for each in everything if name in each.seconds)) for name in PHASES]


def _phase(name: str, seconds: list[float]) -> Phase:
    if not seconds:
        return Phase(name, 0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return Phase(name, len(seconds), fmean(seconds), _rank(seconds, 50), _rank(seconds, 95), seconds[-1], sum(seconds))


def _rank(ordered: list[float], percent: int) -> float:
    """Nearest rank."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
