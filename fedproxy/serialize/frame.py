"""How one object lies in bytes.

Two layouts, told apart by their first four bytes:

* compact, for small objects without out-of-band buffers: ``magic(4) digest(8) stream``;
* full: ``header(32) table(24 per segment) | segment 0 | segment 1 | ...``, every segment on a 64-byte boundary.
  Segment 0 is the codec's stream (a pickle, say), the others are its out-of-band buffers, as they lie in memory.

Strategy: a buffer is never copied here; a connector writes ``parts`` one after the other and a reader gets views into
what the connector hands back. The header digest covers the table, and the table holds each segment's digest, so the
eight bytes of ``Frame.digest`` stand for the whole object where all segments are digested.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from mmap import mmap
from typing import Any, TypeAlias

from attrs import define
from xxhash import xxh3_64, xxh3_64_digest, xxh3_64_intdigest

from fedproxy.errors import FrameError

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap

FULL_MAGIC = b"\xf6FPX"
COMPACT_MAGIC = b"\xf6FP"
"""The fourth byte of a compact frame is its codec, which is never ``X`` or ``S``."""
VERSION = 1
ALIGNMENT = 64
COMPACT_HEAD = 12
COMPACT_LIMIT = 32 * 1024

HEADER = struct.Struct("<4sBBHIIQQ")
"""magic, version, codec, flags, segments, reserved, total length, digest of all before it and of the table."""
_ROW_SIZE = 24
_READ_ONLY = 1 << 56
_DIGESTED = 1 << 57
_LZ4 = 1 << 58
_LENGTH = (1 << 56) - 1
_MAX_SEGMENTS = 1 << 24
_PADDING = bytes(ALIGNMENT)


@define
class Frame:
    """One serialized object: buffers to be written end to end."""

    parts: list[Buffer]
    nbytes: int
    digest: bytes
    """Eight bytes: xxh3 of the compact stream, or of the header and table."""

    def __bytes__(self) -> bytes:
        return self.parts[0] if len(self.parts) == 1 and type(self.parts[0]) is bytes else b"".join(self.parts)

    def __len__(self) -> int:
        return self.nbytes


@define
class Segment:
    """One run of bytes in a full frame; ``raw_nbytes`` differs from what ``parts`` hold only when compressed."""

    parts: Sequence[Buffer]
    raw_nbytes: int
    read_only: bool = True
    lz4: bool = False


@define
class Decoded:
    """A frame taken apart. ``buffers`` are views into what was given, or expanded copies."""

    codec: int
    stream: memoryview
    buffers: list[memoryview]
    read_only: list[bool]


def compact(codec: int, stream: bytes) -> Frame:
    """The frame of a small object."""
    digest = xxh3_64_digest(stream, codec)
    data = COMPACT_MAGIC + bytes((codec,)) + digest + stream
    return Frame([data], len(data), digest)


def is_compact(frame: bytes) -> bool:
    """Whether it begins as a small object does: other kinds of frames have a letter in the fourth place."""
    return frame[:3] == COMPACT_MAGIC and frame[3:4] < b"A"


def compact_stream(frame: bytes) -> tuple[int, bytes]:
    """Codec and stream of a small object.

    Raises:
        FrameError: truncated or corrupted.
    """
    stream = frame[COMPACT_HEAD:]
    if len(frame) < COMPACT_HEAD or xxh3_64_digest(stream, frame[3]) != frame[4:COMPACT_HEAD]:
        raise FrameError("the object is corrupted or cut short", hint="its digest does not match; put it again")
    return frame[3], stream


def full(codec: int, segments: Sequence[Segment], *, digests: bool = True) -> Frame:
    """The frame of a large object.

    ``digests=False`` leaves out the digests of all segments but the first, for media that do not corrupt.
    """
    start = HEADER.size + _ROW_SIZE * len(segments)
    rows: list[tuple[int, int, int]] = []
    parts: list[Buffer] = []
    end = start
    for index, segment in enumerate(segments):
        padding = -end % ALIGNMENT
        if padding:
            parts.append(_PADDING[:padding])
        stored = 0
        for part in segment.parts:
            parts.append(part)
            stored += _nbytes(part)
        digested = digests or index == 0
        flagged = segment.raw_nbytes | _row_flags(segment, digested)
        rows.append((flagged, stored, _digest(segment.parts) if digested else 0))
        end += padding + stored
    table = struct.pack(f"<{3 * len(rows)}Q", *(value for row in rows for value in row))
    lead = HEADER.pack(FULL_MAGIC, VERSION, codec, 0, len(rows), 0, end, 0)[:-8]
    digest = xxh3_64_intdigest(lead + table).to_bytes(8, "little")
    return Frame(_merge([lead + digest + table, *parts]), end, digest)


def _row_flags(segment: Segment, digested: bool) -> int:
    return (_READ_ONLY if segment.read_only else 0) | (_DIGESTED if digested else 0) | (_LZ4 if segment.lz4 else 0)


def _digest(parts: Sequence[Buffer]) -> int:
    if len(parts) == 1:
        return xxh3_64_intdigest(parts[0])
    state = xxh3_64()
    for part in parts:
        state.update(part)
    return state.intdigest()


def _nbytes(part: Buffer) -> int:
    return len(part) if type(part) is bytes else memoryview(part).nbytes


def _merge(parts: list[Any]) -> list[Buffer]:
    """Join neighbours that are small, so that a scatter write has few of them."""
    merged: list[Buffer] = []
    small: list[Buffer] = []
    for part in parts:
        if _nbytes(part) <= 4096:
            small.append(part)
            continue
        if small:
            merged.append(b"".join(small))
            small = []
        merged.append(part)
    if small:
        merged.append(b"".join(small))
    return merged


def decode(view: memoryview, *, verify: bool = True, max_expanded_bytes: int = 1 << 40) -> Decoded:
    """Take a frame apart.

    Args:
        view: the whole frame, flat bytes.
        verify: check every digest that is there; False checks lengths, the header and the stream only.
        max_expanded_bytes: refuse compressed frames that claim to become larger than this.

    Raises:
        FrameError: not a frame, another version, truncated, corrupted, or a bomb.
    """
    magic = bytes(view[:4])
    if magic == FULL_MAGIC:
        return _decode_full(view, verify, max_expanded_bytes)
    if magic[:3] == COMPACT_MAGIC and len(view) >= COMPACT_HEAD:
        stream = view[COMPACT_HEAD:]
        if xxh3_64_digest(stream, magic[3]) != view[4:COMPACT_HEAD]:
            raise FrameError("the object is corrupted or cut short", hint="its digest does not match; put it again")
        return Decoded(magic[3], stream, [], [])
    raise FrameError(f"not a fedproxy object: {len(view)} bytes that start with {magic!r}")


def _decode_full(view: memoryview, verify: bool, max_expanded_bytes: int) -> Decoded:
    codec, table, total = _read_header(view)
    count = len(table) // 3
    expanded = 0
    pieces: list[memoryview] = []
    read_only: list[bool] = []
    end = HEADER.size + _ROW_SIZE * count
    for index in range(count):
        flagged, stored, digest = table[3 * index : 3 * index + 3]
        start = end + -end % ALIGNMENT
        end = start + stored
        if end > total:
            raise FrameError("the object's table of segments is inconsistent")
        piece = view[start:end]
        if flagged & _DIGESTED and (verify or index == 0) and xxh3_64_intdigest(piece) != digest:
            raise FrameError(f"the object is corrupted (segment {index} of {count})", hint="put it again")
        raw = flagged & _LENGTH
        if flagged & _LZ4:
            expanded += raw
            piece = _expand(piece, raw, expanded, max_expanded_bytes)
        elif raw != stored:
            raise FrameError("the object's table of segments is inconsistent")
        pieces.append(piece)
        read_only.append(bool(flagged & _READ_ONLY))
    return Decoded(codec, pieces[0], pieces[1:], read_only[1:])


def _read_header(view: memoryview) -> tuple[int, tuple[int, ...], int]:
    if len(view) < HEADER.size:
        raise FrameError(f"the object is cut short: {len(view)} bytes")
    _, version, codec, _, count, _, total, digest = HEADER.unpack_from(view)
    if version != VERSION:
        message = f"the object has format version {version}, this fedproxy reads {VERSION}"
        raise FrameError(message, hint="upgrade fedproxy")
    table_end = HEADER.size + _ROW_SIZE * count
    if total != len(view) or not 1 <= count <= _MAX_SEGMENTS or table_end > total:
        raise FrameError(f"the object is cut short or too long: {len(view)} bytes instead of {total}")
    lead = bytes(view[: HEADER.size - 8])
    if xxh3_64_intdigest(lead + bytes(view[HEADER.size : table_end])) != digest:
        raise FrameError("the object's header is corrupted", hint="its digest does not match; put it again")
    return codec, struct.unpack_from(f"<{3 * count}Q", view, HEADER.size), total


def _expand(piece: memoryview, raw: int, expanded: int, limit: int) -> memoryview:
    if raw > 255 * len(piece) + 64 or expanded > limit:
        raise FrameError(f"refusing to expand {len(piece)} bytes to {raw}", hint=f"the limit is {limit} bytes")
    import lz4.block

    try:
        data = lz4.block.decompress(piece, uncompressed_size=raw, return_bytearray=True)
    except (lz4.block.LZ4BlockError, ValueError, MemoryError) as exc:
        raise FrameError("a compressed segment is corrupted") from exc
    if len(data) != raw:
        raise FrameError("a compressed segment has the wrong length")
    return memoryview(data)


def frame_digest(view: memoryview) -> bytes | None:
    """The digest that ``Frame.digest`` had, read from the head of a stored frame; None where it is no frame."""
    if view[:4] == FULL_MAGIC and len(view) >= HEADER.size:
        return bytes(view[HEADER.size - 8 : HEADER.size])
    if view[:3] == COMPACT_MAGIC and len(view) >= COMPACT_HEAD:
        return bytes(view[4:COMPACT_HEAD])
    return None
