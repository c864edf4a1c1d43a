"""Messages in a byte stream: each behind its length."""

from __future__ import annotations

import struct
from collections.abc import Iterator


class Splitter:
    """Cuts a byte stream into messages. A message in one piece is passed on without a copy of its own."""

    def __init__(self, length: struct.Struct) -> None:
        self._length = length
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[memoryview]:
        """All messages that ``data`` completes."""
        head = self._length.size
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < head or len(self._buffer) < head + self._length.unpack_from(self._buffer)[0]:
                return
            data, self._buffer = self._buffer, bytearray()
        view = memoryview(data)
        at = 0
        while at + head <= len(view):
            end = at + head + self._length.unpack_from(view, at)[0]
            if end > len(view):
                break
            yield view[at + head:end]
            at = end
        self._buffer += view[at:]
