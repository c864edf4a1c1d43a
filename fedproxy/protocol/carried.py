"""Refs that travel in front of a frame, so that those who must not unpickle it can see which objects it needs.

Layout: magic (4), length of the list (4), the refs (msgpack), padding to 64 bytes, the frame. Refs are bytes here: what they mean is for stores.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextvars import ContextVar

import msgspec

from fedproxy.errors import ProtocolError
from fedproxy.protocol.codec import Buffer

MAGIC = b"\xf6FPR"
_HEAD = struct.Struct("<4sI")
_ALIGNMENT = 64
_list = msgspec.msgpack.Decoder(list[bytes])
_encoder = msgspec.msgpack.Encoder()
_seen: ContextVar[list[bytes] | None] = ContextVar("carried", default=None)


class collecting:
    """Within the block, the refs of proxies that are pickled (by this thread) end up in the list."""

    __slots__ = ("_token",)

    def __enter__(self) -> list[bytes]:
        found: list[bytes] = []
        self._token = _seen.set(found)
        return found

    def __exit__(self, *_exc: object) -> None:
        _seen.reset(self._token)


def collects() -> list[bytes] | None:
    """The list that refs go into now; None where nobody collects."""
    return _seen.get()


def carry(refs: Sequence[bytes], parts: Sequence[Buffer]) -> list[Buffer]:
    """The frame's parts with the refs in front; as they are where there are none."""
    if not refs:
        return list(parts)
    body = _encoder.encode(list(dict.fromkeys(refs)))
    padding = -(_HEAD.size + len(body)) % _ALIGNMENT
    return [_HEAD.pack(MAGIC, len(body)) + body + bytes(padding), *parts]


def carried(data: Buffer) -> tuple[list[bytes], memoryview]:
    """The refs in front of a frame, and the frame.

    Raises:
        ProtocolError: they cannot be read.
    """
    view = memoryview(data)
    if view[:4] != MAGIC:
        return [], view
    try:
        _, length = _HEAD.unpack_from(view)
        end = _HEAD.size + length
        refs = _list.decode(view[_HEAD.size:end])
    except (struct.error, msgspec.MsgspecError) as exc:
        raise ProtocolError(f"refs that cannot be read: {exc}") from exc
    return refs, view[end + (-end % _ALIGNMENT):]


def frame_of(data: Buffer) -> Buffer:
    """The frame alone; ``data`` itself where nothing is in front."""
    return carried(data)[1] if bytes(data[:4]) == MAGIC else data
