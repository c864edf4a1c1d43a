"""Records in bulk: sorted runs of keys, with or without values, and how they become bytes.

Strategy: Python touches a record only inside C loops (split, sort, join, bisect). A run is a list of keys and, for pairs, a list of values of
the same length. Lines are keys without values. What a job does with equal keys is its ``combine``; lines keep every one.
"""

from __future__ import annotations

import pickle
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from attrs import define, field, frozen

from fedproxy.store.connectors.base import Buffer

POINTER_BYTES = 8
OBJECT_BYTES = 49
"""Memory of a bytes object beside its characters, about (head, terminator, rounding up)."""


@define
class Run:
    """Records; ``keys`` ascending where the run is sorted. ``nbytes`` is what they take in memory, about."""

    keys: list[Any]
    values: list[Any] | None = None
    nbytes: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    def cut(self, start: int, stop: int) -> Run:
        """Records ``start`` to ``stop``."""
        share = self.nbytes * (stop - start) // max(1, len(self.keys))
        return Run(self.keys[start:stop], None if self.values is None else self.values[start:stop], share)


class Gatherer(Protocol):
    """Takes runs in any order and gives one sorted run."""

    nbytes: int

    def add(self, run: Run) -> None:
        """Take the records of ``run``."""
        ...

    def drain(self, *, sort: bool = True) -> Run:
        """All records so far as one sorted run; the gatherer is empty again. ``sort=False``: the order does not matter to the caller."""
        ...


class Records(Protocol):
    """One kind of records."""

    def encode(self, run: Run) -> bytes:
        """A run as bytes."""
        ...

    def decode(self, data: Buffer) -> Run:
        """The run that ``encode`` wrote."""
        ...

    def gatherer(self) -> Gatherer:
        """An empty gatherer."""
        ...


@define
class LineGatherer:
    """Keeps every line. Sorting runs that are sorted costs one comparison per line and level (Timsort)."""

    keys: list[bytes] = field(factory=list)
    nbytes: int = 0

    def add(self, run: Run) -> None:
        """Take the lines of ``run``."""
        self.keys += run.keys
        self.nbytes += run.nbytes

    def drain(self, *, sort: bool = True) -> Run:
        """All lines, sorted."""
        keys, nbytes = self.keys, self.nbytes
        self.keys, self.nbytes = [], 0
        keys.sort()
        return Run(keys, None, nbytes)


@frozen
class Lines:
    """Lines without their newlines, ordered as bytes are."""

    def encode(self, run: Run) -> bytes:
        """Each line with a newline."""
        return b"\n".join(run.keys) + b"\n" if run.keys else b""

    def decode(self, data: Buffer) -> Run:
        """The lines of a run."""
        keys = bytes(data).split(b"\n")
        keys.pop()
        return Run(keys, None, len(data) + (OBJECT_BYTES + POINTER_BYTES) * len(keys))

    def gatherer(self) -> LineGatherer:
        """An empty gatherer."""
        return LineGatherer()


@define
class PairGatherer:
    """Combines the values of equal keys as they come."""

    combine: Callable[[Any, Any], Any]
    found: dict[Any, Any] = field(factory=dict)
    nbytes: int = 0

    def add(self, run: Run) -> None:
        """Take the pairs of ``run``."""
        self.add_pairs(zip(run.keys, run.values or (), strict=True), len(run), run.nbytes)

    def add_pairs(self, pairs: Iterable[tuple[Any, Any]], count: int, nbytes: int) -> None:
        """Take ``count`` pairs that take ``nbytes`` of memory."""
        found, combine, before = self.found, self.combine, len(self.found)
        if combine is add_numbers:
            look_up = found.get
            for key, value in pairs:
                found[key] = look_up(key, 0) + value
        else:
            for key, value in pairs:
                found[key] = combine(found[key], value) if key in found else value
        fresh = (len(found) - before) / max(1, count)
        self.nbytes += int(nbytes * (fresh if combine is add_numbers else max(fresh, 0.5)))

    def drain(self, *, sort: bool = True) -> Run:
        """All pairs by key."""
        found, nbytes = self.found, self.nbytes
        self.found, self.nbytes = {}, 0
        if not sort:
            return Run(list(found), list(found.values()), nbytes)
        keys = sorted(found)
        return Run(keys, list(map(found.__getitem__, keys)), nbytes)


def add_numbers(one: int, other: int) -> int:
    """The combiner of counts."""
    return one + other


@frozen
class Counts:
    """Words (bytes without newlines) and how often each occurs."""

    def encode(self, run: Run) -> bytes:
        """The counts, then the words."""
        return len(run).to_bytes(8, "little") + array("Q", run.values or ()).tobytes() + b"\n".join(run.keys)

    def decode(self, data: Buffer) -> Run:
        """The words and counts of a run."""
        count = int.from_bytes(data[:8], "little")
        values = array("Q")
        values.frombytes(data[8 : 8 + 8 * count])
        keys = bytes(data[8 + 8 * count :]).split(b"\n") if count else []
        return Run(keys, values.tolist(), len(data) + 200 * count)

    def gatherer(self) -> PairGatherer:
        """An empty gatherer."""
        return PairGatherer(add_numbers)


@frozen
class Pairs:
    """Keys (of one type, with an order) and values of any kind, as pickles."""

    combine: Callable[[Any, Any], Any]

    def encode(self, run: Run) -> bytes:
        """One pickle."""
        return pickle.dumps((run.keys, run.values), 5)

    def decode(self, data: Buffer) -> Run:
        """The pairs of a run."""
        keys, values = pickle.loads(data)
        return Run(keys, values, 3 * len(data) + 200 * len(keys))

    def gatherer(self) -> PairGatherer:
        """An empty gatherer."""
        return PairGatherer(self.combine)


def cut_at(run: Run, boundaries: Sequence[Any]) -> list[Run]:
    """A sorted run in ``len(boundaries) + 1`` parts; part ``i`` holds the keys of at most ``boundaries[i]``."""
    parts, start = [], 0
    for boundary in boundaries:
        stop = bisect_right(run.keys, boundary, start)
        parts.append(run.cut(start, stop))
        start = stop
    parts.append(run.cut(start, len(run)))
    return parts
