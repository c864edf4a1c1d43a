"""HTTP as uvicorn speaks it, with the patience that it lacks an end of: a request whose headers do not come, or whose body stops coming, is dropped.

Strategy: no timer for a request that comes in one piece, as honest ones do. Only when something is still missing after what was received does one timer of
the connection run; it looks at what has happened since, and at nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Any

from attrs import frozen
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_BYTES = 64 * 1024


@frozen
class Patience:
    """How long a sender may take."""

    headers_s: float = 10.0
    """From the connection, or the first byte of a request, to the end of its headers."""
    silence_s: float = 30.0
    """Between two pieces of a body."""


class PatientHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(self, patience: Patience, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = patience
        self._in_headers = True
        self._in_body = False
        self._since = 0.0
        """When what is missing was last heard of: the headers' beginning, or the body's last piece."""
        self._headers_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect headers."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self._patience.headers_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_headers, self._headers_bytes = True, 0
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Expect the body, if there is one."""
        self._in_headers, self._in_body = False, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All is there."""
        self._in_body = False
        super().on_message_complete()

    def expect_body(self) -> None:
        """More of a body is to come, which this class does not see: another has read the headers."""
        self._in_headers, self._in_body = False, True
        self._since = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self._allowed_s(), self._look)

    def expect_nothing(self) -> None:
        """A request is whole, which this class has not seen."""
        self._in_headers = self._in_body = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or several requests."""
        super().data_received(data)
        if self._in_headers:
            self._headers_bytes += len(data)
            if self._headers_bytes > HEADERS_BYTES:
                self.transport.abort()
                return
        elif self._in_body:
            self._since = self.loop.time()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None
            return
        else:
            return
        if self._timer is None:
            self._timer = self.loop.call_later(self._allowed_s(), self._look)

    def _allowed_s(self) -> float:
        return self._patience.headers_s if self._in_headers else self._patience.silence_s

    def _look(self) -> None:
        """Drop the connection if too long has passed; a body that we ourselves have not taken is not the sender's silence."""
        self._timer = None
        if not (self._in_headers or self._in_body):
            return
        if self._in_body and self.flow.read_paused:
            self._since = self.loop.time()
        left_s = self._since + self._allowed_s() - self.loop.time()
        if left_s <= 0.01:
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(left_s, self._look)
