"""Messages to bytes and back.

Layout: version (1 byte), message code (1 byte), header length (4 bytes, little-endian), header (msgpack), bodies.
A peer one version off is understood (see `versions`); unknown header fields are ignored, missing ones take their defaults.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from mmap import mmap
from typing import Any, TypeAlias

import msgspec

from fedproxy.errors import ProtocolError, VersionMismatchError
from fedproxy.protocol import messages as m
from fedproxy.protocol import worker_messages as w
from fedproxy.protocol.versions import UNDERSTOOD, VERSION, mismatch

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap

_HEAD = struct.Struct("<BBI")
HEAD_SIZE = _HEAD.size
MAX_HEADER_BYTES = 256 * 1024 * 1024

_CODES: dict[int, type] = {
    1: m.Submit,
    2: m.SubmitAck,
    3: m.Finished,
    4: m.TaskOutput,
    10: m.Hello,
    11: m.Welcome,
    12: m.Refused,
    13: m.Tasks,
    14: m.Received,
    15: m.Results,
    16: m.ResultAcks,
    17: m.Need,
    18: m.Catalog,
    19: m.Cancel,
    20: m.Heartbeat,
    21: m.Goodbye,
    22: m.Reset,
    23: m.Reprioritize,
    24: m.Written,
    25: m.WrittenAck,
    26: m.Where,
    27: m.Place,
    28: m.Export,
    30: w.Run,
    31: w.Ready,
    32: w.Claim,
    33: w.Grant,
    34: w.Returned,
}
_CODE_OF = {kind: code for code, kind in _CODES.items()}
_DECODERS: dict[int, msgspec.msgpack.Decoder[Any]] = {code: msgspec.msgpack.Decoder(kind) for code, kind in _CODES.items()}
_ENCODER = msgspec.msgpack.Encoder()
_SPEC_DECODER = msgspec.msgpack.Decoder(m.Spec)


def encode(message: object) -> bytes:
    """The head and header of ``message``; bodies are sent behind it."""
    header = _ENCODER.encode(message)
    return _HEAD.pack(VERSION, _CODE_OF[type(message)], len(header)) + header


def decode(data: Buffer) -> tuple[object, memoryview]:
    """A message and the bytes behind it.

    Raises:
        VersionMismatchError: the peer's version does not work with ours.
        ProtocolError: the bytes are not a message.
    """
    view = memoryview(data)
    if len(view) < HEAD_SIZE:
        raise ProtocolError(f"a message of {len(view)} bytes is too short")
    version, code, length = _HEAD.unpack_from(view)
    if version not in UNDERSTOOD:
        raise VersionMismatchError(str(mismatch("the peer", version)))
    decoder = _DECODERS.get(code)
    end = HEAD_SIZE + length
    if decoder is None or end > len(view):
        raise ProtocolError(f"not a message: code {code}, header of {length} bytes in {len(view)}")
    try:
        return decoder.decode(view[HEAD_SIZE:end]), view[end:]
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, TypeError, RecursionError) as exc:
        raise ProtocolError(f"a {_CODES[code].__name__} message that cannot be read: {exc}") from exc


def encode_spec(spec: m.Spec) -> bytes:
    """A spec's bytes: what its hash is taken over."""
    return _ENCODER.encode(spec)


def decode_spec(data: Buffer) -> m.Spec:
    """A spec from its bytes.

    Raises:
        ProtocolError: the bytes are not a spec.
    """
    try:
        return _SPEC_DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ProtocolError(f"a task spec that cannot be read: {exc}") from exc


def split(body: memoryview, sizes: Iterable[int]) -> Iterator[memoryview]:
    """Cut the bytes behind a message at the sizes it names.

    Raises:
        ProtocolError: there are fewer bytes than the sizes say, or a size is negative.
    """
    start = 0
    for size in sizes:
        end = start + size
        if size < 0 or end > len(body):
            raise ProtocolError(f"a body of {size} bytes at {start} does not fit in {len(body)}")
        yield body[start:end]
        start = end
