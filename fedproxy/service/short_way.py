"""The two requests that everybody waits for, a batch of tasks and a stream of results, without the layers that all others pass.

Strategy: uvicorn's protocol parses, starts a task for each request, and passes messages through ASGI to starlette: some 0.12 ms for a task of its own 0.4 ms in
the service. A connection whose requests are all of these two kinds, each whole and alone, is served here; with the first that is anything else it goes to
uvicorn for good, with every byte of it. So what is unusual is decided in one place only, and that is not here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Protocol

from attrs import frozen
from starlette.responses import Response

from fedproxy.service.http import Patience, PatientHttp
from fedproxy.service.streams import Write

log = logging.getLogger(__name__)

_HEAD_BYTES = 8 * 1024
_BODY_BYTES = 64 * 1024
"""What has more is read piece by piece, on the long way, which sees to it that nobody has too much of it under way."""
_SUBMIT = re.compile(rb"POST (/v1/tasks) HTTP/1\.1\Z")
_STREAM = re.compile(rb"GET /v1/groups/([A-Za-z0-9._~-]+)/results(?:\?after=([0-9]{1,18}))? HTTP/1\.1\Z")
_UNDERSTOOD = frozenset({b"host", b"authorization", b"content-type", b"content-length", b"user-agent", b"accept", b"accept-encoding", b"connection"})


@frozen
class Request:
    """What is understood of a request here."""

    token: str
    size: int
    """Of its body."""
    group: str | None = None
    """Whose results are asked for; None: a batch of tasks."""
    after: int = 0


def read_request(head: bytes, limit_bytes: int = _BODY_BYTES) -> Request | None:
    """A request from its head (without the empty line); None where it is one for uvicorn."""
    line, *rest = head.split(b"\r\n")
    stream = _STREAM.match(line)
    if stream is None and not _SUBMIT.match(line):
        return None
    headers: dict[bytes, bytes] = {}
    for each in rest:
        name, colon, value = each.partition(b":")
        name = name.lower()
        if not colon or name in headers or name not in _UNDERSTOOD:
            return None
        headers[name] = value.strip()
    size = headers.get(b"content-length", b"0" if stream else b"")
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if not size.isdigit() or len(size) > 18 or int(size) > limit_bytes or scheme.lower() != b"bearer" or not token.isascii():
        return None
    if headers.get(b"connection", b"keep-alive").lower() != b"keep-alive" or (stream and int(size)):
        return None
    if stream is None:
        return Request(token.decode(), int(size))
    return Request(token.decode(), 0, stream[1].decode(), int(stream[2] or 0))


class Front(Protocol):
    """What answers the two requests."""

    async def submit(self, token: str, data: bytes) -> Response:
        """The answer to a batch of tasks, also where it is an error."""
        ...

    def stream(self, token: str, group: str, after: int, write: Write) -> AsyncGenerator[bytes, None] | Response:
        """Results as they end, or the error. What can be sent by ``write`` at once need not come out of the stream."""
        ...


class ShortWay(PatientHttp):
    """One connection."""

    def __init__(self, front: Front, patience: Patience, *args: Any, **kwargs: Any) -> None:
        super().__init__(patience, *args, **kwargs)
        self._front = front
        self._long = False
        """Given to uvicorn."""
        self._data = bytearray()
        """What has come of the next request."""
        self._request: Request | None = None
        self._last: tuple[bytes, Request] | None = None
        """The head of the last request, and what it meant: that of the next is often the same."""
        self._plain: tuple[Response, bytes] | None = None
        """The last answer, and its bytes."""
        self._end = 0
        """Where the request ends in the data."""
        self._serving: asyncio.Task[None] | None = None
        self._streaming = False
        self._leaving = False
        self._quiet_since = 0.0
        self._quiet: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        if self._long:
            super().data_received(data)
            return
        self._data += data
        if self._serving is None:
            self._look_for_request()
        elif len(self._data) > _HEAD_BYTES:
            self.flow.pause_reading()  # a client that goes on before it was answered

    def _look_for_request(self) -> None:
        """Begin the next request if it is there, as far as it can be told."""
        request = self._request or self._read_head()
        if request is None:
            self._go_long()
        elif len(self._data) < self._end:
            self._request = request
            self.expect_body()
        elif len(self._data) == self._end:
            self.expect_nothing()
            body = bytes(memoryview(self._data)[self._end - request.size:])
            self._data, self._request = bytearray(), None
            self._streaming = request.group is not None
            self._serving = self.loop.create_task(self._serve(request, body))
            self.tasks.add(self._serving)
            self._serving.add_done_callback(self.tasks.discard)
        else:
            self._go_long()

    def _read_head(self) -> Request | None:
        end = self._data.find(b"\r\n\r\n", 0, _HEAD_BYTES)
        if end >= 0 and self._last is not None and self._last[0] == self._data[:end]:
            self._request = self._last[1]
        else:
            head = bytes(self._data[:max(0, end)])
            self._request = read_request(head)
            self._last = (head, self._request) if self._request is not None else None
        self._end = end + 4 + (self._request.size if self._request else 0)
        return self._request

    def _go_long(self) -> None:
        self._long = True
        data, self._data = bytes(self._data), bytearray()
        if data:
            super().data_received(data)

    # ------------------------------------------------------------ answering

    async def _serve(self, request: Request, body: bytes) -> None:
        try:
            if request.group is None:
                self._write_response(await self._front.submit(request.token, body))
            else:
                await self._stream(request, request.group)
        except asyncio.CancelledError:
            self.transport.abort()  # the client is gone, or the service ends
        except Exception:  # the boundary of a request
            log.exception("a request failed")
            self.transport.abort()
        else:
            self._served()

    def _served(self) -> None:
        self._serving = None
        if self._leaving or self.transport.is_closing():
            self.transport.close()
            return
        self._quiet_since = self.loop.time()
        if self._quiet is None:
            self._quiet = self.loop.call_later(self.timeout_keep_alive, self._close_if_quiet)
        self.flow.resume_reading()
        if self._data:
            self._look_for_request()

    def _write_response(self, response: Response) -> None:
        if self._plain is None or self._plain[0] is not response:
            headers = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
            self._plain = response, b"".join((_status_line(response.status_code), headers, b"\r\n", response.body))
        self.transport.write(self._plain[1])

    async def _stream(self, request: Request, group: str) -> None:
        found = self._front.stream(request.token, group, request.after, self._write_piece)
        if isinstance(found, Response):
            self._write_response(found)
            return
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.fedproxy\r\ntransfer-encoding: chunked\r\n\r\n")
        async with aclosing(found) as chunks:
            async for chunk in chunks:
                while not self._write_piece(chunk):
                    await self.flow.drain()
        self.transport.write(b"0\r\n\r\n")

    def _write_piece(self, piece: bytes) -> bool:
        """Send a piece of a stream; False, and nothing is sent, while the client is behind."""
        if self.flow.write_paused:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True

    # ------------------------------------------------------------ the end of a connection

    def _close_if_quiet(self) -> None:
        left_s = self._quiet_since + self.timeout_keep_alive - self.loop.time()
        if self._long:
            self._quiet = None
        elif self._serving is not None or left_s > 0:
            self._quiet = self.loop.call_later(max(1.0, left_s), self._close_if_quiet)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone. A batch that it has sent whole is taken all the same."""
        if self._quiet is not None:
            self._quiet.cancel()
        if self._serving is not None and self._streaming:
            self._serving.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection when what is under way has been answered."""
        if self._serving is not None:
            self._leaving = True
        else:
            super().shutdown()


def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
