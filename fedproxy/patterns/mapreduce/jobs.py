"""What a job does: its mapper, combiner, reducer and partitioner, and what its records are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import field, frozen

from fedproxy.errors import ConfigError
from fedproxy.patterns.shuffle.partition import ByFunction, ByHash, ByRange, Partitioner
from fedproxy.patterns.shuffle.records import Counts, Lines, Pairs, Records, Run, add_numbers

K = TypeVar("K")
V = TypeVar("V")
_PAIR_BYTES = 250
"""Memory of a pair of small objects in a dictionary, about."""


@frozen
class Batch:
    """What a batched mapper gets: whole lines of one file."""

    data: bytes = field(repr=False)
    """Ends with a newline."""
    url: str
    """The file that they come from."""

    def lines(self) -> list[bytes]:
        """The lines without their newlines."""
        return self.data[:-1].split(b"\n")


Format = Callable[[Run], bytes]


@frozen
class Job:
    """What is computed. Make one with `pairs`, `counts` or `sorted_lines`; functions must be picklable (by value is fine)."""

    name: str
    records: Records
    mapper: Callable[[Batch], Run] = field(repr=False)
    format: Format = field(repr=False)
    """A sorted run as the bytes of an output file."""
    reducer: Callable[[Any, Any], Any] | None = field(default=None, repr=False)
    partitioner: Callable[[Any, int], int] | None = field(default=None, repr=False)
    ordered: bool = False
    """Outputs in the order of their numbers are sorted as a whole."""

    def reduced(self, run: Run) -> Run:
        """The run with its values reduced."""
        if self.reducer is None or run.values is None:
            return run
        return Run(run.keys, list(map(self.reducer, run.keys, run.values)), run.nbytes)

    def partition(self, reduces: int, boundaries: Sequence[Any] | None) -> Partitioner:
        """How the keys are dealt out. ``boundaries`` of an ordered job were sampled."""
        if boundaries is not None:
            return ByRange(tuple(boundaries))
        return ByHash(reduces) if self.partitioner is None else ByFunction(reduces, self.partitioner)


def sorted_lines() -> Job:
    """All lines in the order of their bytes, as ``LC_ALL=C sort`` gives them."""
    return Job("sort", Lines(), _lines_of, Lines().encode, ordered=True)


def counts(mapper: Callable[[Batch], Mapping[bytes, int]], *, name: str = "count") -> Job:
    """How often each word occurs. ``mapper`` gives the counts of a batch: ``lambda batch: Counter(batch.data.split())``."""
    return Job(name, Counts(), _Counting(mapper), format_pairs)


def pairs(
    mapper: Callable[[bytes], Iterable[tuple[K, V]]] | None = None, *, batched: Callable[[Batch], Mapping[K, V]] | None = None,
    combiner: Callable[[V, V], V] | None = None, reducer: Callable[[K, Any], Any] | None = None,
    partitioner: Callable[[K, int], int] | None = None, ordered: bool = False, format: Format | None = None, name: str = "job",
) -> Job:
    """A job on keys and values of any kind; keys are of one type, hashable, and have an order.

    Args:
        mapper: gives the pairs of one line (bytes without the newline).
        batched: instead of ``mapper``: the pairs of many lines at once, as a mapping with values combined. It needs a ``combiner``.
        combiner: two values of a key as one; associative and commutative. It runs at the maps and again at the reducers.
        reducer: the result for a key, from its value where there is a combiner, else from the list of its values.
        partitioner: which of ``n`` reducers gets a key. Default: by a hash that is the same everywhere.
        ordered: the reducers get ranges of keys, so that the whole output is in order.
        format: bytes of an output file; default: a line ``key TAB value`` for each.

    Raises:
        ConfigError: the arguments contradict each other.
    """
    if (mapper is None) == (batched is None):
        raise ConfigError("a job has either a mapper of lines or a batched mapper")
    if batched is not None and combiner is None:
        raise ConfigError("a batched mapper needs a combiner", hint="its mapping holds one value for each key; say how two become one")
    if ordered and partitioner is not None:
        raise ConfigError("an ordered job is partitioned by ranges of its keys", hint="leave out partitioner= or ordered=")
    records = Pairs(_extended if combiner is None else combiner)
    bulk = _Batched(batched) if batched is not None else _PerLine(mapper, combiner)  # type: ignore[arg-type]
    return Job(name, records, bulk, format or format_pairs, reducer, partitioner, ordered)


def format_pairs(run: Run) -> bytes:
    """A line ``key TAB value`` for each pair; bytes as they are, others as text."""
    if set(map(type, run.keys)) == {bytes} and set(map(type, run.values or ())) == {int}:
        return b"".join(map(b"%b\t%d\n".__mod__, zip(run.keys, run.values or (), strict=True)))
    return b"".join([b"%b\t%b\n" % (_text(key), _text(value)) for key, value in zip(run.keys, run.values or (), strict=True)])


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")


def _lines_of(batch: Batch) -> Run:
    return Lines().decode(batch.data)


def _extended(one: list[Any], other: list[Any]) -> list[Any]:
    one += other
    return one


@frozen
class _Counting:
    mapper: Callable[[Batch], Mapping[bytes, int]]

    def __call__(self, batch: Batch) -> Run:
        found = self.mapper(batch)
        return Run(list(found), list(found.values()), _PAIR_BYTES * len(found))


@frozen
class _Batched:
    mapper: Callable[[Batch], Mapping[Any, Any]]

    def __call__(self, batch: Batch) -> Run:
        found = self.mapper(batch)
        return Run(list(found), list(found.values()), _PAIR_BYTES * len(found) + 2 * len(batch.data))


@frozen
class _PerLine:
    mapper: Callable[[bytes], Iterable[tuple[Any, Any]]]
    combiner: Callable[[Any, Any], Any] | None

    def __call__(self, batch: Batch) -> Run:
        found: dict[Any, Any] = {}
        combine, mapper, count = self.combiner, self.mapper, 0
        for line in batch.lines():
            for key, value in mapper(line):
                count += 1
                if combine is None:
                    found.setdefault(key, []).append(value)
                else:
                    found[key] = combine(found[key], value) if key in found else value
        held = len(found) if combine is add_numbers else count
        return Run(list(found), list(found.values()), _PAIR_BYTES * held)
