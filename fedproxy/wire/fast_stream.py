"""A GET whose answer goes on for as long as both sides live: read piece by piece, by whichever thread has its turn."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

from fedproxy.wire.plain_http import Origin, read_body, read_head, receive

_LINE_BYTES = 1024


class Chunks:
    """Takes the chunked transfer coding off a stream (RFC 9112, section 7.1). Pieces of a large chunk are passed on as they come."""

    def __init__(self) -> None:
        self._left = 0
        """Bytes of the current chunk that are to come, with the line's end behind it."""
        self._line = b""
        self.ended = False

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """The content in ``data``.

        Raises:
            ConnectionError: this is not chunked.
        """
        view = memoryview(data)
        while view and not self.ended:
            if not self._left:
                view = self._begin(view)
                continue
            piece, view = view[:self._left], view[self._left:]
            content = piece[:max(0, self._left - 2)]
            self._left -= len(piece)
            if content:
                yield content

    def _begin(self, view: memoryview) -> memoryview:
        """Read the line that begins a chunk, as far as it is there."""
        line = self._line + bytes(view[:_LINE_BYTES])
        end = line.find(b"\r\n")
        if end < 0:
            if len(line) >= _LINE_BYTES:
                raise ConnectionError("not a chunk")
            self._line = line
            return view[len(view):]
        try:
            size = int(line[:end].partition(b";")[0], 16)
        except ValueError as exc:
            raise ConnectionError("not a chunk") from exc
        self.ended = size == 0
        self._left = size + 2
        used = end + 2 - len(self._line)
        self._line = b""
        return view[used:]


class FastStream:
    """One open stream. Closed with the object, or by `close`."""

    shared = True

    def __init__(self, url: str, token: str, path: str, timeout_s: float) -> None:
        """Ask for it. ``status`` is the answer's; ``error`` the body of an answer that is none of 2xx.

        Raises:
            OSError: the service cannot be reached, or does not answer like one.
        """
        origin = Origin(url, token)
        self._socket = origin.connect(timeout_s)
        self._chunks = Chunks()
        self._begun = b""
        self.error = b""
        try:
            self._socket.sendall(origin.head("GET", path))
            head, rest = read_head(self._socket)
            self.status = head.status
            if head.status >= 400:
                self.error = read_body(self._socket, head, rest)
            elif head.headers.get("transfer-encoding", "").lower() != "chunked":
                raise ConnectionError("an answer that is no stream: is this a fedproxy service?")
            self._begun = rest
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """To wait for with ``poll``, unless something is `pending`."""
        return self._socket.fileno()

    def pending(self) -> bool:
        """Whether there is something to read that ``poll`` does not see."""
        return bool(self._begun) or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0)

    def read(self) -> Iterator[memoryview]:
        """What has come: call it when there is something.

        Raises:
            OSError: the stream has ended or broken.
        """
        data, self._begun = self._begun or receive(self._socket), b""
        yield from self._chunks.feed(data)
        if self._chunks.ended:
            raise ConnectionResetError("the service ended the stream")

    def interrupt(self) -> None:
        """End it, from any thread: whoever reads gets an OSError."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # ssl's own would read on without decrypting

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Idempotent."""
        with suppress(OSError, AttributeError):
            self._socket.close()
