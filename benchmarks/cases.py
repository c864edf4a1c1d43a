"""What a benchmark module gives to the harness."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from attrs import field, frozen

from benchmarks.rows import Metric

Sample = dict[str, float]
"""Metric name to value, of one repetition."""

Params = Mapping[str, int | float | str]


class UnsupportedCaseError(Exception):
    """This system has nothing that corresponds to the case."""


@frozen
class Case:
    """One thing to measure. ``params`` say how much of it; they are printed with the rows."""

    name: str
    params: Params = field(factory=dict)
    warmup: Params = field(factory=dict)
    """Params that differ in the warm-up repetition."""
    repetitions: int = 5
    memory_repetitions: int = 0
    """Further repetitions in which memory is watched, and nothing timed: watching costs time.

    A param ``held_bytes`` says what the caller itself holds, which does not count.
    """
    systems: tuple[str, ...] = ()
    """Only these systems; empty: all."""
    limit_s: float = float("inf")
    """A repetition that takes longer has failed."""
    enough_s: float = float("inf")
    """A system whose repetition took longer is not asked for another one."""

    def number(self, name: str) -> int:
        """A whole-number param."""
        return int(self.params[name])


@contextmanager
def no_backends() -> Iterator[Mapping[str, str]]:
    """Nothing to start beside the systems."""
    yield {}


@frozen
class Benchmark:
    """A benchmark: its systems, its cases, and how one case of one system is measured (in the driver process)."""

    name: str
    metrics: tuple[Metric, ...]
    systems: Mapping[str, str]
    """System to "module:factory"; ``factory(host)`` makes the subject that ``measure`` gets."""
    cases: Callable[[bool], Sequence[Case]]
    """Cases, given ``quick``."""
    measure: Callable[[Case, object], Sample]
    backends: Callable[[], AbstractContextManager[Mapping[str, str]]] = no_backends
    """Servers that the systems share; gives environment variables that say where they are."""
    lasting: Callable[[float], Sequence[Case]] | None = None
    """Cases of a benchmark that goes on for as many minutes as it is given."""

    def chosen(self, *, quick: bool, minutes: float | None) -> Sequence[Case]:
        """The cases of a run."""
        return self.lasting(minutes) if self.lasting is not None and minutes else self.cases(quick)


def root_of(system: str) -> str:
    """The system without its variant: ``ray`` of ``ray/actor``."""
    return system.partition("/")[0]
