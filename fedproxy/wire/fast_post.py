"""POST on a kept connection, in one piece: the hot path of a client.

requests (with urllib3 and http.client below it) spends some 0.4 ms on a request, and sends headers and body with two system calls, each of
which wakes the service. A batch of one task waits for all of that. This sends the same HTTP/1.1 request with one call, and reads an answer
with a Content-Length. Whatever needs more (a proxy, a redirect) is left to requests: see `usable`.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

import certifi
import requests

_READ = 65536
_HEAD_BYTES = 64 * 1024


def usable(url: str) -> bool:
    """Whether the service is reached directly: no proxy is configured for it."""
    return not requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url, no_proxy=None))


class FastPost:
    """One connection to one service. Not thread-safe."""

    def __init__(self, url: str, token: str, content_type: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._fixed = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\nContent-Type: {content_type}\r\n"
        self._socket: socket.socket | None = None

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
        """Send a request; `finish` must follow, from whichever thread.

        Raises:
            OSError: the service cannot be reached.
        """
        head = f"POST {self._prefix}{path} HTTP/1.1\r\n{self._fixed}Content-Length: {len(body)}\r\n\r\n".encode()
        try:
            connection = self._socket = self._socket or self._connect(timeout_s)
            connection.settimeout(timeout_s)
            connection.sendall(head + body)
        except BaseException:
            self.close()
            raise

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
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._receive(connection)
            if len(data) > _HEAD_BYTES:
                raise ConnectionError("an answer without an end to its headers")
        lines = data[:end].decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "content-length" not in headers:
            raise ConnectionError("an answer without a length: is this a fedproxy service?")
        answer = bytearray(data[end + 4:])
        while len(answer) < int(headers["content-length"]):
            answer += self._receive(connection)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split(" ", 2)[1]), bytes(answer)

    @staticmethod
    def _receive(connection: socket.socket) -> bytes:
        data = connection.recv(_READ)
        if not data:
            raise ConnectionResetError("the service closed the connection")
        return data

    def _connect(self, timeout_s: float) -> socket.socket:
        connection = socket.create_connection((self._host, self._port), min(timeout_s, 10.0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            context = ssl.create_default_context(cafile=certifi.where())
            return context.wrap_socket(connection, server_hostname=self._host)
        return connection

    def __del__(self) -> None:
        self.close()  # whoever lets go of it has no use for the connection

    def close(self) -> None:
        """Close the connection. Idempotent."""
        connection, self._socket = self._socket, None
        if connection is not None:
            with suppress(OSError):
                connection.close()
