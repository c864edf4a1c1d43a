"""Which server holds a key: hash slots, as in the Redis Cluster specification. Pure."""

from __future__ import annotations

import binascii
import functools
from collections.abc import Sequence

from attrs import frozen

from fedproxy.store.connectors.redis_wire import Reply

SLOTS = 16384
TAGS = 64
"""Chunks of one value are spread over this many evenly spaced ranges of slots."""


def slot_of(key: bytes) -> int:
    """The slot of ``key``: CRC16 of its hash tag, or of all of it."""
    start = key.find(b"{")
    if start >= 0:
        stop = key.find(b"}", start + 1)
        if stop > start + 1:
            key = key[start + 1 : stop]
    return binascii.crc_hqx(key, 0) % SLOTS


@functools.cache
def _tags() -> tuple[bytes, ...]:
    """One short hash tag for each of ``TAGS`` equal ranges of slots."""
    found: dict[int, bytes] = {}
    number = 0
    while len(found) < TAGS:
        tag = b"%x" % number
        found.setdefault(slot_of(tag) * TAGS // SLOTS, tag)
        number += 1
    return tuple(found[index] for index in range(TAGS))


def spread_tags(count: int, first: int) -> list[bytes]:
    """Hash tags for ``count`` pieces, beginning anywhere (``first``), any few neighbours far apart.

    They step through the ranges in bit-reversed order (van der Corput), shifted by ``first``: shards that hold contiguous
    ranges of slots, which is how clusters are made, get as many pieces each, give or take two.
    """
    tags, bits = _tags(), TAGS.bit_length() - 1
    order = [int(f"{index:0{bits}b}"[::-1], 2) for index in range(TAGS)]
    return [tags[(order[index % TAGS] + first) % TAGS] for index in range(count)]


@frozen
class SlotMap:
    """Slot to server (``HOST:PORT``), and every master once."""

    slots: tuple[str | None, ...]
    masters: tuple[str, ...]

    def server(self, key: bytes) -> str | None:
        """The master that serves ``key``, or None while no node does."""
        return self.slots[slot_of(key)]


def parse_slots(reply: Reply, asked: str) -> SlotMap:
    """The reply to ``CLUSTER SLOTS``; ``asked`` is the server it came from, for nodes that do not know their name."""
    slots: list[str | None] = [None] * SLOTS
    masters: dict[str, None] = {}
    for row in _rows(reply):
        first, last, node = row[0], row[1], row[2]
        if not (isinstance(first, int) and isinstance(last, int) and isinstance(node, list)):
            continue
        server = _address(node, asked)
        masters[server] = None
        slots[first : last + 1] = [server] * (last + 1 - first)
    return SlotMap(tuple(slots), tuple(masters))


def _rows(reply: Reply) -> Sequence[list[Reply]]:
    return [row for row in reply if isinstance(row, list) and len(row) >= 3] if isinstance(reply, list) else []


def _address(node: list[Reply], asked: str) -> str:
    host = bytes(node[0]).decode() if isinstance(node[0], bytearray | memoryview) else ""
    return f"{host if host not in ('', '?') else asked.rpartition(':')[0]}:{node[1]}"


def redirect_target(text: str, asked: str) -> str:
    """``HOST:PORT`` of ``MOVED 1234 HOST:PORT`` or ``ASK ...``."""
    host, _, port = text.rsplit(maxsplit=1)[-1].rpartition(":")
    return f"{host or asked.rpartition(':')[0]}:{port}"
