"""``serialize`` and ``deserialize``: objects to frames and back."""

from __future__ import annotations

import os
import pickle
from typing import Any

from attrs import frozen

from fedproxy.errors import FrameError
from fedproxy.serialize import codecs
from fedproxy.serialize.arrays import encode_array, is_plain_array
from fedproxy.serialize.compress import Link, compress_segments
from fedproxy.serialize.frame import COMPACT_LIMIT, Buffer, Frame, Segment, compact, compact_stream, decode, full, is_compact
from fedproxy.serialize.pickling import PROTOCOL, pickle_object, unpickle
from fedproxy.serialize.sign import sign, unsign

PLAIN = frozenset({type(None), bool, int, float, complex, str})
"""Types whose values pickle takes as they are."""


@frozen
class FrameOptions:
    """How frames are written and read."""

    body_digests: bool = True
    """Digest out-of-band buffers too. Off for memory that does not corrupt: checking would read what is only mapped."""
    compress: Link | None = None
    """Compress adaptively for this link; None: never."""
    sign_key: bytes | None = None
    """Sign with this key, and accept only what is signed with it."""
    max_expanded_bytes: int = 0
    """Refuse compressed objects that claim to become larger. 0: half of this machine's memory."""


DEFAULT = FrameOptions()


def serialize(obj: Any, *, codec: str | None = None, options: FrameOptions = DEFAULT) -> Frame:
    """``obj`` as a frame. Buffers of arrays are referred to, not copied: write the parts before changing the array.

    Args:
        codec: pickle, raw, json, dill or a registered one; None picks the cheapest that works.

    Raises:
        SerializationError: the object cannot be pickled; the message names the part that is to blame.
    """
    number, chunks, buffers = _encode(obj, codec)
    if not buffers:
        stream = chunks[0] if len(chunks) == 1 else (b"".join(chunks) if _small(chunks) else None)
        if type(stream) is bytes and len(stream) <= COMPACT_LIMIT:
            frame = compact(number, stream)
            return frame if options.sign_key is None else sign(frame, options.sign_key)
    return _full(number, chunks, buffers, options)


def serialize_plain(obj: Any) -> Frame:
    """As `serialize`, for what is of `PLAIN` types only, tuples and dicts of such included: nothing in it wants to be looked at."""
    stream = pickle.dumps(obj, PROTOCOL)
    return compact(codecs.PICKLE, stream) if len(stream) <= COMPACT_LIMIT else _full(codecs.PICKLE, [stream], [], DEFAULT)


def _small(chunks: list[Buffer]) -> bool:
    return sum(len(chunk) for chunk in chunks) <= COMPACT_LIMIT


def _encode(obj: Any, codec: str | None) -> tuple[int, list[Buffer], list[Any]]:
    if codec is not None:
        return codecs.encode(obj, codec)
    kind = type(obj)
    if kind in PLAIN:
        return codecs.PICKLE, [pickle.dumps(obj, PROTOCOL)], []
    if kind is bytes:
        return codecs.RAW_BYTES, [obj], []
    if kind is bytearray:
        return codecs.RAW_BYTEARRAY, [obj], []
    if is_plain_array(kind) and not codecs.has_choosers():
        encoded = encode_array(obj)
        if encoded is not None:
            return codecs.ARRAY, *encoded
    chosen = codecs.chosen_plugin(obj)
    if chosen is not None:
        return codecs.encode_plugin(chosen, obj)
    pickled = pickle_object(obj)
    return codecs.PICKLE, pickled.chunks, pickled.buffers


def _full(number: int, chunks: list[Buffer], buffers: list[pickle.PickleBuffer], options: FrameOptions) -> Frame:
    segments = [Segment(chunks, sum(len(chunk) for chunk in chunks))]
    for buffer in buffers:
        raw = buffer.raw()
        segments.append(Segment([raw], raw.nbytes, raw.readonly))
    if options.compress is not None:
        segments = compress_segments(segments, options.compress)
    frame = full(number, segments, digests=options.body_digests)
    return frame if options.sign_key is None else sign(frame, options.sign_key)


def deserialize(buffer: Buffer, *, verify: bool = True, options: FrameOptions = DEFAULT) -> Any:
    """The object in ``buffer``, which must be one whole frame.

    Arrays are views into ``buffer`` and keep it alive. Those that were writable are writable again: where ``buffer``
    itself is read-only they are copied, so a connector that gives writable memory saves that copy.

    Args:
        verify: check all digests; False checks lengths, header and stream only.

    Raises:
        FrameError: truncated, corrupted, foreign, from another version, or a decompression bomb.
        SerializationError: what the frame holds cannot be loaded here.
    """
    if type(buffer) is bytes and options.sign_key is None and is_compact(buffer):
        return _load_compact(buffer)
    view = memoryview(buffer)
    if view.format != "B" or view.ndim != 1:
        view = view.cast("B")
    view = unsign(view, options.sign_key)
    decoded = decode(view, verify=verify, max_expanded_bytes=options.max_expanded_bytes or _half_of_memory())
    if not decoded.buffers:
        return codecs.decode(decoded.codec, decoded.stream, [])
    buffers = [_as_it_was(*pair) for pair in zip(decoded.buffers, decoded.read_only, strict=True)]
    return codecs.decode(decoded.codec, decoded.stream, buffers)


def _load_compact(frame: bytes) -> Any:
    """A small object that is whole in ``bytes``: no views."""
    codec, stream = compact_stream(frame)
    if codec == codecs.PICKLE:
        return unpickle(stream, ())
    return stream if codec == codecs.RAW_BYTES else codecs.decode(codec, memoryview(stream), [])


def _as_it_was(view: memoryview, read_only: bool) -> Any:
    if read_only:
        return view.toreadonly()
    return bytearray(view) if view.readonly else view


def _half_of_memory() -> int:
    return _MEMORY_BYTES // 2


_MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

__all__ = ["DEFAULT", "FrameError", "FrameOptions", "deserialize", "serialize"]
