"""How many workers to hold: the decision of elasticity, pure. Engines observe, ask, and act.

A *unit* is what an engine holds and lets go as one: a worker process of the local engine, a block of the parsl engine.
Source: funcX (TPDS 2022), section 6.3: a strategy interface with monitoring and scaling apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Protocol

from attrs import frozen

from fedproxy.config.endpoint import Scaling


@frozen
class Load:
    """What an engine is asked to do now. Counts, not rates."""

    pending: int
    """Tasks that no worker has."""
    idle: int
    """Workers that could take one now, and those that are on their way."""
    units: int


@frozen
class Limits:
    """What an engine may hold."""

    min_units: int = 0
    max_units: int = 1
    workers_per_unit: int = 1
    parallelism: float = 1.0
    """Wanted workers per waiting task: smaller is less aggressive."""


def wanted_units(load: Load, limits: Limits) -> int:
    """Units to hold for this load, within the limits.

    Grows only for tasks that no idle or coming worker could take; never shrinks below what is held: releasing idle units is another
    decision, by idle time (`to_release`).
    """
    unserved = max(0, load.pending - load.idle)
    extra = ceil(unserved * limits.parallelism / limits.workers_per_unit)
    return min(limits.max_units, max(limits.min_units, load.units + extra))


@frozen
class Unit:
    """One unit, and since when (monotonic) nothing has been done with it; None while it is of use."""

    name: str
    idle_since: float | None = None


def to_release(units: Iterable[Unit], spare: int, idle_s: float, now: float) -> tuple[str, ...]:
    """At most ``spare`` units that have been idle for ``idle_s``, those that have been idle for longest first."""
    idle = sorted((unit.idle_since, unit.name) for unit in units if unit.idle_since is not None and now - unit.idle_since >= idle_s)
    return tuple(name for _, name in idle[:max(0, spare)])


def older_than(received: Iterable[float], age_s: float, now: float) -> int:
    """How many of the tasks, by the time at which they came (oldest first), have waited for ``age_s``."""
    count = 0
    for at in received:
        if now - at < age_s:
            break
        count += 1
    return count


@frozen
class Plan:
    """What to do now."""

    grow: int = 0
    release: tuple[str, ...] = ()


class Strategy(Protocol):
    """Decides from what is seen. The time is passed in."""

    def plan(self, load: Load, units: Iterable[Unit], limits: Limits, now: float) -> Plan:
        """What to start and what to let go."""


@frozen
class ByDemand:
    """Grows with the queue, releases what was idle for long, never both at once."""

    idle_s: float = 120.0

    def plan(self, load: Load, units: Iterable[Unit], limits: Limits, now: float) -> Plan:
        """Grow for tasks that are not served; release only when there are none."""
        grow = wanted_units(load, limits) - load.units
        if grow > 0:
            return Plan(grow=grow)
        if load.pending > load.idle and load.units <= limits.max_units:
            return Plan()
        return Plan(release=to_release(units, load.units - limits.min_units, self.idle_s, now))


def strategy(scaling: Scaling) -> Strategy:
    """The strategy of a configuration."""
    return ByDemand(scaling.idle_s)
