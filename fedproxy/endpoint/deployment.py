"""Which containers a node holds: what is started, and what is released for it. Pure.

Source: funcX (TPDS 2022), section 6.1: containers are deployed in proportion to the functions that wait for each kind, kept warm, and released
when they were idle for long. What the paper leaves open is decided here: a container of another kind is released only if the new one still has
something to do when it is up, and a kind that has none does not wait for ever behind kinds that are always busy.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

_PATIENCE = 4.0
"""So many times as long as it takes to start, a container has to be of use, and a kind without one waits before a busy kind gives one up: at most a
fifth of the time then goes into starting."""


@frozen
class Demand:
    """What is known of one kind. Times in seconds."""

    waiting: int
    containers: int = 0
    """All of them: starting, idle and busy."""
    starting: int = 0
    idle: int = 0
    ripe: int = 0
    """Idle ones that have been up for so long (see `ripe`) that a starved kind may have them although something waits for them."""
    idle_s: float = 0.0
    """How long the container that was used least recently has been idle."""
    oldest_s: float = 0.0
    """How long the first that waits has waited."""
    run_s: float | None = None
    """How long its tasks take; None: not known yet."""
    cold_s: float = 0.2
    """How long a container takes to start."""

    @property
    def unserved(self) -> int:
        """Waiting tasks for which there is neither an idle container nor one that is starting."""
        return max(0, self.waiting - self.idle - self.starting)


@frozen
class Step:
    """Start a container of one kind; first release an idle one of another, where ``release`` names it."""

    start: str
    release: str | None = None


def worth_starting(demand: Demand) -> bool:
    """Whether one more container, at the price of another kind's, is worth its start.

    It is if, until those that there are would have done all that waits, it could run two tasks, or work four times as long as it took to start.
    With none, always. With tasks of unknown length, yes: to wait for the first to end could take as long as that.
    """
    if not demand.waiting:
        return False
    if demand.containers == 0 or demand.run_s is None:
        return True
    useful_s = demand.waiting * demand.run_s / demand.containers - demand.cold_s
    return useful_s > min(2 * demand.run_s, _PATIENCE * demand.cold_s)


def shares(demands: Mapping[str, Demand], capacity: int) -> dict[str, int]:
    """How many of ``capacity`` containers each kind should have: in proportion to what waits, each at least one, those that wait longest first.

    Kinds without demand have no share. The shares add up to ``capacity``, or to what waits if that is less.
    """
    wanted = {kind: d.waiting for kind, d in sorted(demands.items(), key=lambda item: -item[1].oldest_s) if d.waiting}
    found = dict.fromkeys(list(wanted)[:capacity], 1)
    left = min(capacity, sum(wanted.values())) - len(found)
    total = sum(wanted[kind] for kind in found)
    exact = {kind: left * wanted[kind] / total for kind in found} if found else {}
    for kind in found:
        found[kind] = min(wanted[kind], 1 + int(exact[kind]))
    for kind in sorted(found, key=lambda k: int(exact[k]) - exact[k]):  # largest remainders
        if sum(found.values()) < min(capacity, sum(wanted.values())) and found[kind] < wanted[kind]:
            found[kind] += 1
    return found


def fill_empty(demands: Mapping[str, Demand], room: int) -> list[Step]:
    """What to start in empty slots, in proportion to what is not served."""
    unserved = {kind: Demand(d.unserved, oldest_s=d.oldest_s) for kind, d in demands.items() if d.unserved}
    return [Step(kind) for kind, count in shares(unserved, room).items() for _ in range(count)] if room > 0 else []


def replace_idle(demands: Mapping[str, Demand]) -> Step | None:
    """The next idle container that is given up for a kind that needs one more; None: all is as it should be.

    Given up are containers of kinds for which nothing waits, the least recently used first; those of a kind that has work only for one that has
    none at all and has been patient.
    """
    for kind, demand in sorted(demands.items(), key=lambda item: -item[1].oldest_s):
        if not demand.unserved or not worth_starting(demand):
            continue
        spare = [other for other, d in demands.items() if other != kind and d.idle > 0 and d.waiting == 0]
        if not spare and starved(demand):
            spare = [other for other, d in demands.items() if other != kind and d.ripe > 0]
        if spare:
            return Step(kind, max(spare, key=lambda other: demands[other].idle_s))
    return None


def starved(demand: Demand) -> bool:
    """Whether a kind has no container at all and has waited long enough to take one from a kind that has work."""
    return demand.unserved > 0 and demand.containers == 0 and demand.oldest_s > _PATIENCE * demand.cold_s


def ripe(up_s: float, cold_s: float) -> bool:
    """Whether a container has been up for long enough to be worth its start, also if others take turns with it: else all would only ever start."""
    return up_s >= _PATIENCE * cold_s
