"""Lifetimes for technologies that have none: 64 bytes before each object say when it expires."""

from __future__ import annotations

import struct
import time

from fedproxy.store.connectors.base import Buffer

HEAD_BYTES = 64
"""As large as a frame's alignment, so that arrays stay aligned."""
NEVER = float("inf")
_LAYOUT = struct.Struct(">8sd48x")
_MAGIC = b"fpobj\x00\x001"


def head(ttl_s: float | None) -> bytes:
    """The head of an object that is written now."""
    return _LAYOUT.pack(_MAGIC, NEVER if ttl_s is None else time.time() + ttl_s)


def expiry_of(beginning: Buffer) -> float | None:
    """When an object expires (Unix time, or ``NEVER``), from its first bytes; None where there is no head."""
    start = bytes(memoryview(beginning)[:HEAD_BYTES])
    return float(_LAYOUT.unpack(start)[1]) if len(start) == HEAD_BYTES and start[:8] == _MAGIC else None


def body(whole: Buffer) -> memoryview | None:
    """What follows the head, or None where it has expired. Bytes without a head are not ours: handed out as they are."""
    view, expires = memoryview(whole).cast("B"), expiry_of(whole)
    if expires is None:
        return view
    return view[HEAD_BYTES:] if expires > time.time() else None
