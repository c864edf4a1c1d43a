"""Many small objects in one file.

Layout: ``magic(8) count(u64) offsets(u64 each, count + 1) flags(u8 each) data``; offsets count from the start of the
file, in which the pack may have an origin; a flag is 0 while its object lives. Keys are ``BASE.INDEX`` with the 15 characters of ``BASE`` naming the pack, so
that a key says where its object lies and a batch costs one file.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import TypeAlias, cast

from fedproxy.errors import StoreUnavailableError
from fedproxy.store.connectors.base import Buffer, Parts, new_key, parts_nbytes

MAGIC = b"FPPACK\x00\x01"
HEAD = 16
MAX_ITEM_BYTES = 64 * 1024
MAX_ITEMS = 1_000_000
_MAX_DIGITS = 6

Place: TypeAlias = tuple[str, int]
"""Base of a pack and index in it."""


def place_of(key: str) -> Place | None:
    """Where an object with this key would lie in a pack; None for keys of another form."""
    if key[15:16] != ".":
        return None
    index = key[16:]
    if not (index.isdecimal() and index.isascii() and len(index) <= _MAX_DIGITS):
        return None
    return key[:15], int(index)


def _one_pack(keys: Sequence[str]) -> tuple[str, list[int]] | None:
    """Base and indexes where all keys lie in one pack, which is what a batch gives; quickly."""
    place = place_of(keys[0]) if keys else None
    if place is None:
        return None
    start = keys[0][:16]
    try:
        indexes = [int(key[16:]) for key in keys if key.startswith(start)]
    except ValueError:
        return None
    return (place[0], indexes) if len(indexes) == len(keys) and min(indexes) >= 0 else None


def split(items: Sequence[Parts]) -> tuple[list[int], list[bytes]]:
    """Positions and bytes of the items that are small enough for a pack."""
    positions: list[int] = []
    data: list[bytes] = []
    for position, parts in enumerate(items):
        first = parts[0] if len(parts) == 1 else None
        if type(first) is bytes and len(first) <= MAX_ITEM_BYTES:
            positions.append(position)
            data.append(first)
        elif parts_nbytes(parts) <= MAX_ITEM_BYTES:
            positions.append(position)
            data.append(b"".join(parts))
    return positions[:MAX_ITEMS], data[:MAX_ITEMS]


def new_base() -> str:
    """A random name for a pack."""
    return new_key()[:15].replace("+", "-")


def build(items: Sequence[bytes], origin: int = 0) -> bytes:
    """The bytes of a pack that will lie ``origin`` bytes after the start of its file."""
    count = len(items)
    start = origin + HEAD + 8 * (count + 1) + count
    offsets = accumulate(map(len, items), initial=start)
    return b"".join((MAGIC, struct.pack(f"<{count + 2}Q", count, *offsets), bytes(count), *items))


class Pack:
    """A view into a pack: any buffer that gives ``bytes`` when sliced."""

    __slots__ = ("_data", "_flags", "_table", "count")

    def __init__(self, data: Buffer, origin: int = 0) -> None:
        self._table = origin + HEAD
        if len(data) < self._table or bytes(data[origin : origin + 8]) != MAGIC:
            raise StoreUnavailableError("a pack of small objects is corrupted", hint="evict it with gc")
        self._data = data
        self.count = int.from_bytes(data[origin + 8 : self._table], "little")
        self._flags = self._table + 8 * (self.count + 1)
        if self._flags + self.count > len(data):
            raise StoreUnavailableError("a pack of small objects is cut short", hint="evict it with gc")

    def get(self, index: int) -> bytes | None:
        """One item; None where it was evicted or never was."""
        if not self.lives(index):
            return None
        at = self._table + 8 * index
        start, end = struct.unpack("<2Q", self._data[at : at + 16])
        return bytes(self._data[start:end])

    def get_many(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Several items, at a fraction of a microsecond each."""
        if any(self._all_flags()) or (indexes and max(indexes) >= self.count):
            return [self.get(index) for index in indexes]
        at, data = self._offsets(), self._data
        if 2 * len(indexes) > self.count:
            data = bytes(memoryview(data))  # slices of bytes cost less
            if indexes == list(range(self.count)):
                return [data[start:end] for start, end in pairwise(at)]
        return [data[at[index] : at[index + 1]] for index in indexes]  # type: ignore[misc]

    def lives(self, index: int) -> bool:
        """Whether the item is there and was not evicted."""
        return index < self.count and self._data[self._flags + index] == 0

    def flag_offset(self, index: int) -> int:
        """Where in the file the item's flag lies."""
        return self._flags + index

    def sizes(self) -> list[tuple[int, int]]:
        """Index and size of each living item."""
        at = self._offsets()
        return [(index, at[index + 1] - at[index]) for index in range(self.count) if self.lives(index)]

    def is_dead(self) -> bool:
        """Whether all items were evicted."""
        return 0 not in self._all_flags()

    def _offsets(self) -> tuple[int, ...]:
        return struct.unpack(f"<{self.count + 1}Q", self._data[self._table : self._flags])

    def _all_flags(self) -> bytes:
        return bytes(self._data[self._flags : self._flags + self.count])


def evict_indexes(descriptor: int, size: int, indexes: Sequence[int], origin: int = 0) -> bool:
    """Mark items of an open pack as evicted; whether none lives any more.

    Several processes may do so at once: the last of them sees all marks.
    """
    with mmap.mmap(descriptor, size) as data:
        pack = Pack(data, origin)
        for index in indexes:
            if index < pack.count:
                data[pack.flag_offset(index)] = 1
        return pack.is_dead()


def by_pack(keys: Sequence[str]) -> dict[str | None, tuple[list[int], list[int]]]:
    """Positions in ``keys`` and indexes in the pack, by base; None for keys that are not of that form."""
    alone = _one_pack(keys)
    if alone is not None:
        return {alone[0]: (list(range(len(keys))), alone[1])}
    groups: dict[str | None, tuple[list[int], list[int]]] = {}
    base: str | None = None
    positions, indexes = groups[None] = [], []
    for position, key in enumerate(keys):
        place = place_of(key)
        found = None if place is None else place[0]
        if found != base:
            base = found
            positions, indexes = groups.setdefault(base, ([], []))
        positions.append(position)
        indexes.append(0 if place is None else place[1])
    return groups


def get_batch(
    keys: Sequence[str], pack_of: Callable[[str], Pack | None], load: Callable[[str], Buffer | None]
) -> list[Buffer | None]:
    """The objects under ``keys``: each pack is opened once by ``pack_of``; what lies in none is read by ``load``."""
    found: list[Buffer | None] = [None] * len(keys)
    for base, (positions, indexes) in by_pack(keys).items():
        pack = None if base is None else pack_of(base)
        if pack is None:
            for position in positions:
                found[position] = load(keys[position])
            continue
        items = pack.get_many(indexes)
        if len(items) == len(keys):
            return cast("list[Buffer | None]", items)
        for position, data in zip(positions, items, strict=True):
            found[position] = data
    return found
