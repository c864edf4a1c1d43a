"""A numpy array that is sent alone: no pickler, a line that says what it is and its memory as it lies.

Strategy: half the price of a small array was numpy's own reduction. Only plain arrays of numbers come here; what has
fields, objects, units, strings, gaps or a type of its own goes by pickle, as arrays inside other objects do.
"""

from __future__ import annotations

import pickle
import struct
import sys
from typing import Any

from fedproxy.errors import FrameError
from fedproxy.serialize.frame import Buffer

IN_BAND_BYTES = 8 * 1024
_KINDS = frozenset("biufc")
_MAX_DIMENSIONS = 32
_HEAD = struct.Struct("<BBB")
"""Characters of the type, dimensions, 1 where the last index varies slowest; then the type, then the shape as u64."""


def encode_array(array: Any) -> tuple[list[Buffer], list[pickle.PickleBuffer]] | None:
    """Stream chunks and buffers of an exact ``numpy.ndarray``; None where this is not the way for it."""
    dtype, flags = array.dtype, array.flags
    if dtype.kind not in _KINDS or dtype.metadata or not array.size or array.ndim > _MAX_DIMENSIONS:
        return None
    fortran = not flags.c_contiguous
    if fortran and not flags.f_contiguous:
        return None
    kind, shape = dtype.str.encode(), array.shape
    head = _HEAD.pack(len(kind), len(shape), fortran) + kind + struct.pack(f"<{len(shape)}Q", *shape)
    if array.nbytes >= IN_BAND_BYTES:
        return [head], [pickle.PickleBuffer(array)]
    return ([head + array.tobytes("A")], []) if flags.writeable else None


def decode_array(stream: memoryview, buffers: list[Any]) -> Any:
    """The array; over its buffer, or in memory of its own where it came in the stream.

    Raises:
        FrameError: the stream does not describe these bytes.
    """
    try:
        length, dimensions, fortran = _HEAD.unpack_from(stream)
        start = _HEAD.size + length
        shape = struct.unpack_from(f"<{dimensions}Q", stream, start)
        kind = str(stream[_HEAD.size : start], "ascii")
        if kind[1:2] not in _KINDS:
            raise ValueError(f"not a number type: {kind!r}")
        data = buffers[0] if buffers else bytearray(stream[start + 8 * dimensions :])
        flat = _numpy().frombuffer(data, kind)
        return flat if dimensions == 1 and shape[0] == flat.size else flat.reshape(shape, order="F" if fortran else "C")
    except (struct.error, ValueError, TypeError, OverflowError) as exc:
        raise FrameError(f"the object is not an array: {exc}") from exc


def is_plain_array(kind: type) -> bool:
    """Whether this is numpy's own array type; numpy is only looked at where the program uses it."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind is getattr(numpy, "ndarray", None)


def _numpy() -> Any:
    import numpy

    return numpy
