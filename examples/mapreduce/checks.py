"""Whether the answer is right, found out in another way: by a plain loop, or by order and a checksum of all lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import fsspec
from attrs import define
from xxhash import xxh3_64_intdigest

from fedproxy.patterns.mapreduce import Result
from fedproxy.patterns.mapreduce.inputs import find_inputs, plan_splits, read_pieces

_PIECE_BYTES = 16 * 1024 * 1024


class WrongAnswerError(Exception):
    """The job's answer is not the plain one."""


@define
class Multiset:
    """Lines, whatever their order: how many, and the sum of their digests."""

    count: int = 0
    digest: int = 0

    def add(self, lines: Sequence[bytes]) -> None:
        """Take ``lines``."""
        self.count += len(lines)
        self.digest = (self.digest + sum(map(xxh3_64_intdigest, lines))) % 2**64


def pieces(urls: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Whole lines of all files, in order, with the file that they come from."""
    files = find_inputs(list(urls))
    for split in plan_splits(files, 1, most_bytes=2**62):
        for piece in read_pieces(split, _PIECE_BYTES):
            yield split.url, piece


def check(app: str, result: Result, inputs: Sequence[str]) -> str:
    """Compare; what was compared, in words.

    Raises:
        WrongAnswerError: the answers differ.
    """
    return {"wordcount": check_counts, "sort": check_order, "index": check_index}[app](result, inputs)


def check_counts(result: Result, inputs: Sequence[str]) -> str:
    """Every word's count."""
    want: Counter[bytes] = Counter()
    for _, piece in pieces(inputs):
        want.update(piece.split())
    got = {word: int(count) for word, count in _written(result)}
    _expect(got == want, "the counts differ from a plain loop's")
    return f"{want.total():,} words, {len(want):,} different: equal to a plain loop's counts"


def check_order(result: Result, inputs: Sequence[str]) -> str:
    """Every line is there, and none comes before a smaller one."""
    want, got = Multiset(), Multiset()
    for _, piece in pieces(inputs):
        want.add(piece[:-1].split(b"\n"))
    last = b""
    for url in result.urls:
        for _, piece in pieces([url]):
            lines = piece[:-1].split(b"\n")
            _expect(last <= lines[0] and all(one <= other for one, other in pairwise(lines)), f"{url} is not in order")
            last = lines[-1]
            got.add(lines)
    _expect(got == want, "lines were lost, doubled or changed")
    return f"{want.count:,} lines: in order, and the same multiset (checksum {want.digest:016x})"


def check_index(result: Result, inputs: Sequence[str]) -> str:
    """Every word's files."""
    want: dict[bytes, set[str]] = {}
    for url, piece in pieces(inputs):
        for word in set(piece.split()):
            want.setdefault(word, set()).add(url)
    got = {word: files.decode() for word, files in _written(result)}
    _expect(got == {word: str(sorted(files)) for word, files in want.items()}, "the index differs from a plain loop's")
    _expect(list(got) == sorted(got), "the index is not in order")
    return f"{len(want):,} words, {sum(map(len, want.values())):,} entries: equal to a plain loop's index, in order"


def _written(result: Result) -> Iterator[tuple[bytes, bytes]]:
    for url in result.urls:
        with fsspec.open(url, "rb") as file:
            for line in file.read()[:-1].split(b"\n") if result.records else ():
                if line:
                    word, _, value = line.partition(b"\t")
                    yield word, value


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise WrongAnswerError(otherwise)
