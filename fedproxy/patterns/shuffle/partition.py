"""Which reducer gets a key: by hash, by range, or as the user says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Protocol
from zlib import crc32

from attrs import frozen

from fedproxy.patterns.shuffle.records import Run, cut_at


class Partitioner(Protocol):
    """Cuts runs for reducers. Equal keys go to the same one, in every process."""

    @property
    def reduces(self) -> int:
        """How many reducers."""
        ...

    @property
    def wants_sorted(self) -> bool:
        """Whether only sorted runs can be cut."""
        ...

    def cut(self, run: Run) -> list[Run]:
        """One run for each reducer, in the order of ``run``."""
        ...


def hash_key(key: Any) -> int:
    """A number that is the same in every process: ``hash`` is not, for texts."""
    if isinstance(key, bytes):
        return crc32(key)
    return crc32(key.encode("utf-8", "surrogatepass") if isinstance(key, str) else repr(key).encode())


def _deal(run: Run, reduces: int, numbers: Iterable[int]) -> list[Run]:
    """Each record to the part ``number % reduces``."""
    parts: list[list[Any]] = [[] for _ in range(reduces)]
    add = [part.append for part in parts]
    each = run.nbytes // max(1, len(run))
    if run.values is None:
        for key, number in zip(run.keys, numbers, strict=True):
            add[number % reduces](key)
        return [Run(part, None, each * len(part)) for part in parts]
    for pair, number in zip(zip(run.keys, run.values, strict=True), numbers, strict=True):
        add[number % reduces](pair)
    return [Run(list(map(_KEY, part)), list(map(_VALUE, part)), each * len(part)) for part in parts]


_KEY, _VALUE = itemgetter(0), itemgetter(1)


@frozen
class ByHash:
    """Evenly, whatever the keys are. ``repr`` of a key that is neither bytes nor text must tell it from others."""

    reduces: int
    wants_sorted = False

    def cut(self, run: Run) -> list[Run]:
        """One run for each reducer."""
        hasher: Callable[[Any], int] = crc32 if run.keys and type(run.keys[0]) is bytes else hash_key
        return _deal(run, self.reduces, map(hasher, run.keys))


@frozen
class ByRange:
    """In order: all keys of a reducer come before those of the next. ``boundaries`` are the greatest keys of all but the last."""

    boundaries: Sequence[Any]
    wants_sorted = True

    @property
    def reduces(self) -> int:
        """How many reducers."""
        return len(self.boundaries) + 1

    def cut(self, run: Run) -> list[Run]:
        """One run for each reducer; ``run`` is sorted."""
        return cut_at(run, self.boundaries)


@frozen
class ByFunction:
    """As ``function(key, reduces)`` says."""

    reduces: int
    function: Callable[[Any, int], int]
    wants_sorted = False

    def cut(self, run: Run) -> list[Run]:
        """One run for each reducer.

        Raises:
            ValueError: the function named a reducer that there is not.
        """
        numbers = [self.function(key, self.reduces) for key in run.keys]
        if numbers and not 0 <= min(numbers) <= max(numbers) < self.reduces:
            raise ValueError(f"the partitioner gave {min(numbers)} to {max(numbers)} for reducers 0 to {self.reduces - 1}")
        return _deal(run, self.reduces, numbers)
