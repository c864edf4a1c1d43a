"""A chunk: the smallest piece of a shuffle that is compressed, checked and read by itself.

``raw length(u32) stored length(u32) checksum(u32) flags(u32) | stored bytes``. A segment of a block is chunks one after the other; a chunk
that begins a sorted run says so. Compression is LZ4, and only where a sample says that it pays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import lz4.block
from xxhash import xxh3_64_intdigest

from fedproxy.store.connectors.base import Buffer

HEAD = struct.Struct("<IIII")
LZ4 = 1
NEW_RUN = 2
TARGET_BYTES = 256 * 1024
"""A run is cut into chunks of about this many raw bytes."""
_SAMPLE_BYTES = 16 * 1024
_WORTH = 0.85
_LEAST_BYTES = 512


class BrokenChunkError(Exception):
    """Bytes that are cut short or corrupted."""


class Chunk(NamedTuple):
    """One chunk that was read and checked."""

    raw: Buffer
    new_run: bool


def encode_chunk(raw: bytes, *, compress: bool, new_run: bool) -> list[Buffer]:
    """The buffers of a chunk, to be written one after the other."""
    stored: bytes = raw
    flags = NEW_RUN if new_run else 0
    if compress and len(raw) >= _LEAST_BYTES and _shrinks(raw):
        stored = lz4.block.compress(raw, store_size=False)
        flags |= LZ4
    return [HEAD.pack(len(raw), len(stored), _checksum(stored, len(raw), flags), flags), stored]


def _checksum(stored: Buffer, raw_length: int, flags: int) -> int:
    """Of the bytes and of what the head says of them."""
    return xxh3_64_intdigest(stored, raw_length << 8 | flags & 0xFF) & 0xFFFFFFFF


def _shrinks(raw: bytes) -> bool:
    if len(raw) <= 2 * _SAMPLE_BYTES:
        return True
    sample = raw[:_SAMPLE_BYTES]
    return len(lz4.block.compress(sample, store_size=False)) < _WORTH * len(sample)


def whole_chunks_bytes(data: Buffer) -> int:
    """How many of these bytes are whole chunks: the rest is the beginning of one."""
    at = 0
    while at + HEAD.size <= len(data):
        end = at + HEAD.size + HEAD.unpack_from(data, at)[1]
        if end > len(data):
            break
        at = end
    return at


def decode_chunks(data: Buffer) -> Iterator[Chunk]:
    """The chunks of a segment, or of several whole ones end to end.

    Raises:
        BrokenChunkError: cut short, or a checksum is wrong.
    """
    view, at, total = memoryview(data), 0, len(data)
    while at < total:
        if total - at < HEAD.size:
            raise BrokenChunkError("cut short in a chunk's head")
        raw_length, length, checksum, flags = HEAD.unpack_from(view, at)
        at += HEAD.size
        stored = view[at : at + length]
        if len(stored) != length or xxh3_64_intdigest(stored, raw_length << 8 | flags & 0xFF) & 0xFFFFFFFF != checksum:  # as _checksum
            raise BrokenChunkError("a chunk is cut short or corrupted")
        at += length
        raw: Buffer = lz4.block.decompress(stored, uncompressed_size=raw_length) if flags & LZ4 else stored
        yield Chunk(raw, bool(flags & NEW_RUN))
