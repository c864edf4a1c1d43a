"""Where everything of a shuffle lies: what reducers are told.

One block per map attempt holds a segment for each reducer, end to end. The manifest lists the winning attempts with the offsets of their
segments; it travels as one proxy.
"""

from __future__ import annotations

import itertools
import struct
from array import array
from collections.abc import Sequence

from attrs import field, frozen

from fedproxy.store.connectors.base import Span

BLOCK = "block"
OBJECTS = "objects"
"""The layout with one object for each map and reducer: for comparison."""
_OFFSET = struct.Struct("=Q")


@frozen
class Source:
    """What an attempt wrote."""

    index: int
    """Of the map, or of the merge of several maps."""
    attempt: int
    store: str
    site: str
    offsets: bytes = field(repr=False)
    """``reduces + 1`` offsets (u64, native): segment ``r`` of the block lies from ``offsets[r]`` to ``offsets[r + 1]``."""
    layout: str = BLOCK
    stage: str = "m"

    def spans(self, shuffle: str, first: int, last: int) -> list[Span]:
        """Where the segments of reducers ``first`` to ``last`` (exclusive) lie; empty ones are left out."""
        key = self.key(shuffle)
        if self.layout == BLOCK:
            start, stop = self.offset(first), self.offset(last)
            return [(key, start, stop - start)] if stop > start else []
        offsets = array("Q")
        offsets.frombytes(self.offsets[8 * first : 8 * (last + 1)])
        lengths = [stop - start for start, stop in itertools.pairwise(offsets)]
        return [(object_key(key, reducer), 0, length) for reducer, length in enumerate(lengths, first) if length]

    def offset(self, reducer: int) -> int:
        """Where the segment of ``reducer`` begins in the block, and that of the one before it ends."""
        found: int = _OFFSET.unpack_from(self.offsets, 8 * reducer)[0]
        return found

    def key(self, shuffle: str) -> str:
        """The block's key."""
        return block_key(shuffle, self.stage, self.index, self.attempt)

    def sizes(self) -> array[int]:
        """Stored bytes of each segment."""
        offsets = array("Q")
        offsets.frombytes(self.offsets)
        return array("Q", [stop - start for start, stop in itertools.pairwise(offsets)])


@frozen
class Manifest:
    """The winning attempts of a shuffle."""

    shuffle: str
    sources: Sequence[Source]

    @property
    def nbytes(self) -> int:
        """Stored bytes of all blocks."""
        return sum(int.from_bytes(source.offsets[-8:], "little") for source in self.sources)


def block_key(shuffle: str, stage: str, index: int, attempt: int) -> str:
    """``{shuffle}:{stage}{map}:{attempt}``: a cluster spreads the maps over its shards by it."""
    return f"{shuffle}:{stage}{index}:{attempt}"


def object_key(block: str, reducer: int) -> str:
    """The key of one slice where each is an object of its own."""
    return f"{block}:{reducer}"


def offsets_of(lengths: Sequence[int]) -> bytes:
    """Lengths of segments as offsets."""
    offsets, at = array("Q", [0]), 0
    for length in lengths:
        at += length
        offsets.append(at)
    return offsets.tobytes()
