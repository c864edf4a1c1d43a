"""POST on a kept connection, in one piece: the hot path of a client. A batch of one task waits for all of it."""

from __future__ import annotations

import select
import socket
from contextlib import suppress

from fedproxy.wire.plain_http import Origin, read_body, read_head


class FastPost:
    """One connection to one service. Not thread-safe."""

    def __init__(self, url: str, token: str, content_type: str) -> None:
        self._origin = Origin(url, token)
        self._content_type = content_type
        self._socket: socket.socket | None = None
        self._begun = b""
        """What has come of the next answer."""

    def post(self, path: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Status and body of the answer. A kept connection that the service has closed meanwhile is replaced once.

        Raises:
            OSError: the service cannot be reached, or stopped in the middle of its answer.
        """
        kept = self._socket is not None
        try:
            self.start(path, body, timeout_s)
            return self.finish()
        except ConnectionError:
            if not kept:
                raise
        self.start(path, body, timeout_s)
        return self.finish()

    def start(self, path: str, body: bytes, timeout_s: float) -> None:
        """Send a request; `finish` must follow, from whichever thread. The answer to the one before may still have to be heard: they come in order.

        Raises:
            OSError: the service cannot be reached.
        """
        head = self._origin.head("POST", path, f"Content-Type: {self._content_type}\r\nContent-Length: {len(body)}\r\n")
        try:
            connection = self._socket = self._socket or self._origin.connect(timeout_s)
            if connection.gettimeout() != timeout_s:
                connection.settimeout(timeout_s)
            connection.sendall(head + body)
        except BaseException:
            self.close()
            raise

    def answered(self) -> bool:
        """Whether the answer to what was started has begun to come, or its connection has broken."""
        if self._socket is None:
            return False  # whatever is started next has a connection of its own
        if self._begun:
            return True
        poll = select.poll()  # select() knows no descriptors above 1,023
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def finish(self) -> tuple[int, bytes]:
        """Status and body of the answer to what was started.

        Raises:
            OSError: the service stopped in the middle, or does not answer in time.
        """
        try:
            return self._answer(self._socket)
        except BaseException:
            self.close()
            raise

    def _answer(self, connection: socket.socket | None) -> tuple[int, bytes]:
        if connection is None:
            raise ConnectionResetError("the connection was closed")
        head, begun = read_head(connection, self._begun)
        body = read_body(connection, head, begun)
        length = int(head.headers["content-length"])
        body, self._begun = body[:length], body[length:]
        if head.headers.get("connection", "").lower() == "close":
            self.close()
        return head.status, body

    def __del__(self) -> None:
        self.close()  # whoever lets go of it has no use for the connection

    def close(self) -> None:
        """Close the connection. Idempotent."""
        connection, self._socket, self._begun = self._socket, None, b""
        if connection is not None:
            with suppress(OSError):
                connection.close()
