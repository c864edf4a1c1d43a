"""A mixed load at a modest rate for as long as asked for (``--minutes``): memory and descriptors of every program over time, and nothing lost.

Each case is one stretch of the time; the last one gives the slopes over all of it, without the first quarter, in which caches fill.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.rows import Metric

PROGRAMS = ("service", "agents", "workers", "client")
LEVELS = (*(f"{program}_{what}" for program in PROGRAMS for what in ("pss", "fds", "threads")), "shm_files")
_UNITS = {"pss": "MB", "fds": "count", "threads": "count", "files": "count"}

METRICS = (
    Metric("throughput", "tasks/s", "higher"),
    Metric("lost", "count", "lower"),
    Metric("wrong", "count", "lower"),
    *(Metric(level, _UNITS[level.rpartition("_")[2]], "lower") for level in LEVELS),
    *(Metric(f"{level}_slope", f"{_UNITS[level.rpartition('_')[2]]}/h", "lower") for level in LEVELS),
)

RATE = 80
"""Tasks a second: enough to find a leak of 100 bytes a task within the hour, little enough to leave the machine to others."""
STEP_MOST_S = 300
SLOPES = "slopes"


class Soak(Protocol):
    """A system under a mixed load."""

    def stretch(self, seconds: float, rate: float) -> Sample:
        """Go on for ``seconds``; check all that was submitted meanwhile."""
        ...

    def slopes(self) -> Sample:
        """Changes per hour, over all stretches."""
        ...


def lasting(minutes: float) -> Sequence[Case]:
    """Twelve stretches or more, none longer than five minutes."""
    steps = max(12, int(-(-minutes * 60 // STEP_MOST_S)))
    return _cases(minutes * 60 / steps, steps)


def cases(quick: bool) -> Sequence[Case]:
    """Without ``--minutes``: half a minute, or an hour."""
    return _cases(6.0, 5) if quick else lasting(60.0)


def _cases(step_s: float, steps: int) -> Sequence[Case]:
    load = {"seconds": step_s, "rate": RATE}
    idle = {"seconds": 0}
    return [*(Case(f"until-{step_s * (i + 1) / 60:.4g}-min", load, idle, 1) for i in range(steps)), Case(SLOPES, {"rate": RATE}, {}, 1)]


def measure(case: Case, subject: object) -> Sample:
    """One stretch, or the slopes."""
    soak = cast("Soak", subject)
    if case.name == SLOPES:
        return soak.slopes()
    return soak.stretch(float(case.params["seconds"]), float(case.params["rate"]))


BENCHMARK = Benchmark("soak", METRICS, {"fedproxy": "benchmarks.peers.fedproxy_soak:soak"}, cases, measure, lasting=lasting)
