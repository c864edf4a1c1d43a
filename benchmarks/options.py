"""How a benchmark is run."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen

from benchmarks.cases import root_of

OWN = "fedproxy"


@frozen
class Limits:
    """Seconds that things may take."""

    opening_s: float
    """All systems, started at once."""
    repetition_s: float
    spread_s: float
    """Shared among the cases: after its share a case stops at the end of the round that it is in."""
    end_s: float
    """After this nothing more is measured."""


PATIENT = Limits(opening_s=90.0, repetition_s=600.0, spread_s=float("inf"), end_s=float("inf"))
QUICK = Limits(opening_s=30.0, repetition_s=20.0, spread_s=42.0, end_s=52.0)
"""Done within a minute, closing included."""


@frozen
class Options:
    """What to run and how. ``peers=None``: all that the benchmark knows."""

    quick: bool = False
    peers: frozenset[str] | None = None
    workers: int = 2
    minutes: float | None = None
    """How long benchmarks go on that go on for a time."""
    progress: Callable[[str], None] = field(default=lambda _: None)

    def wants(self, system: str) -> bool:
        """Whether ``system`` is to be measured; fedproxy always is."""
        root = root_of(system)
        return root == OWN or self.peers is None or root in self.peers

    @property
    def limits(self) -> Limits:
        """The time limits."""
        return QUICK if self.quick else PATIENT
