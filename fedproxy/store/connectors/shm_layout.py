"""How an object lies in its shared memory file: a head of 256 bytes, then the bytes.

``magic(8) size(u64) expires(f64) recycled(u8) key length(u8) owner(16) key``. ``expires`` 0: lives as long as its owner's
lease. The head names the key, so that a reader who opened a file just before it was recycled sees that it is another.
"""

from __future__ import annotations

import struct

from attrs import frozen

MAGIC = b"FPSHM\x00\x00\x01"
HEAD_BYTES = 256
MAP_FROM_BYTES = 64 * 1024
"""From here on objects are mapped by readers and lie in segments that are used again."""
SEGMENT = ".seg-"
TURN = ".turn"
"""Beginnings of names, as in ``folder``."""
EXPIRES_OFFSET = 16
_STRUCT = struct.Struct("<8sQdBB16s")
EXPIRES = struct.Struct("<d")


@frozen
class Head:
    """What the head says."""

    size: int
    expires: float
    recycled: bool
    owner: str
    key: str

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires != 0 and self.expires <= now


def pack_head(size: int, expires: float, recycled: bool, owner: bytes, key: str) -> bytes:
    """The head as bytes."""
    name = key.encode()
    return (_STRUCT.pack(MAGIC, size, expires, recycled, len(name), owner) + name).ljust(HEAD_BYTES, b"\0")


def parse_head(data: bytes) -> Head | None:
    """The head, or None where these bytes are none."""
    if len(data) < HEAD_BYTES or data[:8] != MAGIC:
        return None
    _, size, expires, recycled, length, owner = _STRUCT.unpack_from(data)
    start = _STRUCT.size
    return Head(size, expires, bool(recycled), owner.decode("ascii", "replace"), data[start : start + length].decode())
