"""The short way for small objects: no header to take apart, no views, one digest.

Strategy: batches of tiny objects spend their time in calls, so the two functions here make as few as they can.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from xxhash import xxh3_64_digest

from fedproxy.serialize.codecs import PICKLE, RAW_BYTES
from fedproxy.serialize.facade import PLAIN, FrameOptions, serialize
from fedproxy.serialize.frame import COMPACT_HEAD, COMPACT_LIMIT, COMPACT_MAGIC, Buffer, Frame
from fedproxy.serialize.pickling import PROTOCOL, unpickle

_RAW = COMPACT_MAGIC + bytes((RAW_BYTES,))
_LIMIT = COMPACT_HEAD + COMPACT_LIMIT
_PICKLE = COMPACT_MAGIC + bytes((PICKLE,))


def serialize_many(objects: Iterable[Any], options: FrameOptions) -> list[Frame | bytes]:
    """A frame for each object; small ones as the bytes of theirs."""
    if options.sign_key is not None:
        return [serialize(obj, options=options) for obj in objects]
    frames: list[Frame | bytes] = []
    append = frames.append
    for obj in objects:
        kind = type(obj)
        if kind is bytes and len(obj) <= COMPACT_LIMIT:
            append(_RAW + xxh3_64_digest(obj, RAW_BYTES) + obj)
        elif kind in PLAIN:
            stream = pickle.dumps(obj, PROTOCOL)
            if len(stream) <= COMPACT_LIMIT:
                append(_PICKLE + xxh3_64_digest(stream, PICKLE) + stream)
            else:
                append(serialize(obj, options=options))
        else:
            frame = serialize(obj, options=options)
            part = frame.parts[0]
            append(part if len(frame.parts) == 1 and type(part) is bytes else frame)
    return frames


def deserialize_many(
    frames: Sequence[Buffer | None], digests: Sequence[bytes], options: FrameOptions, other: Callable[[int], Any]
) -> list[Any]:
    """The objects of many frames. ``other(index)`` is asked for those that are large, damaged or not there.

    An empty digest means that none is expected.
    """
    if options.sign_key is not None:
        return [other(index) for index in range(len(frames))]
    found: list[Any] = []
    append = found.append
    for index, frame in enumerate(frames):
        if type(frame) is bytearray and len(frame) <= _LIMIT:
            frame = bytes(frame)  # noqa: PLW2901  for what follows bytes are cheaper, this copy included
        if type(frame) is bytes:
            head, stream = frame[:4], frame[COMPACT_HEAD:]
            if head == _RAW:
                if xxh3_64_digest(stream, RAW_BYTES) == (digests[index] or frame[4:COMPACT_HEAD]):
                    append(stream)
                    continue
            elif head == _PICKLE and xxh3_64_digest(stream, PICKLE) == (digests[index] or frame[4:COMPACT_HEAD]):
                append(unpickle(stream, ()))
                continue
        append(other(index))
    return found
