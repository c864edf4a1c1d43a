"""What the short ways to the service share (`fast_post`, `fast_stream`): a connection of one's own, and the head of an answer.

requests (with urllib3 and http.client below it) spends some 0.4 ms on a request, and sends headers and body with two system calls, each of which wakes
the service. Whatever needs more than HTTP/1.1 straight to the service (a proxy, a redirect) is left to requests: see `usable`.
"""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

import certifi
import requests
from attrs import frozen

READ_BYTES = 65536
_HEAD_BYTES = 64 * 1024


def usable(url: str) -> bool:
    """Whether the service is reached directly: no proxy is configured for it."""
    return not requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url, no_proxy=None))


class Origin:
    """One service as one user."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._headers = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"

    def head(self, method: str, path: str, more: str = "") -> bytes:
        """The head of a request. ``more``: further headers, each with its line's end."""
        return f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._headers}{more}\r\n".encode()

    def connect(self, timeout_s: float) -> socket.socket:
        """A new connection.

        Raises:
            OSError: the service cannot be reached.
        """
        connection = socket.create_connection((self._host, self._port), min(timeout_s, 10.0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(timeout_s)
        if self._tls:
            context = ssl.create_default_context(cafile=certifi.where())
            return context.wrap_socket(connection, server_hostname=self._host)
        return connection


@frozen
class Head:
    """The head of an answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]


def receive(connection: socket.socket) -> bytes:
    """What has come.

    Raises:
        ConnectionResetError: the service closed the connection.
    """
    data = connection.recv(READ_BYTES)
    if not data:
        raise ConnectionResetError("the service closed the connection")
    return data


def read_head(connection: socket.socket, begun: bytes = b"") -> tuple[Head, bytes]:
    """The head of an answer, of which ``begun`` has come, and what has come behind it.

    Raises:
        OSError: it did not come, or is none.
    """
    data = begun
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += receive(connection)
        if len(data) > _HEAD_BYTES:
            raise ConnectionError("an answer without an end to its headers")
    lines = data[:end].decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Head(int(lines[0].split(" ", 2)[1]), headers), data[end + 4:]


def read_body(connection: socket.socket, head: Head, begun: bytes) -> bytes:
    """The body of an answer with a length, and whatever has come behind it.

    Raises:
        OSError: it did not come whole, or has no length.
    """
    if "content-length" not in head.headers:
        raise ConnectionError("an answer without a length: is this a fedproxy service?")
    body = bytearray(begun)
    while len(body) < int(head.headers["content-length"]):
        body += receive(connection)
    return bytes(body)
