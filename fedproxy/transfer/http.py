"""HTTP/1.1 as data servers speak it, from the asking end: one connection, requests ahead of their answers, bodies received into place.

Strategy: the kernel is asked for whole buffers (``MSG_WAITALL``), so that a body costs one wake-up for each, and times out by itself.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from http.client import HTTPException, parse_headers
from io import BytesIO
from types import TracebackType
from urllib.parse import urlsplit

import msgspec
from attrs import frozen

from fedproxy import errors
from fedproxy.errors import FedproxyError, RouteUnavailableError, SourceLostError, TransferError, TransferStalledError
from fedproxy.store.connectors.base import Buffer

_CONNECT_S = 5.0
_LARGEST_ERROR_BYTES = 64 * 1024
_LARGEST_HEAD_BYTES = 64 * 1024
_HEAD_AT_ONCE = 4096


@frozen
class Answer:
    """The head of an answer; its body of ``length`` bytes follows and must be read."""

    status: int
    headers: Mapping[str, str]
    length: int


class Connection:
    """To one data server. For one thread at a time. Never follows a redirect."""

    def __init__(self, url: str, *, stall_s: float) -> None:
        """Connect.

        Raises:
            RouteUnavailableError: nobody answers there.
        """
        split = urlsplit(url)
        self.url = url
        self._host = split.netloc
        try:
            self._socket = socket.create_connection((split.hostname or "", split.port or 80), timeout=min(_CONNECT_S, stall_s))
        except OSError as exc:
            raise RouteUnavailableError(f"the data server {url} does not answer: {exc.strerror or exc}") from exc
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(None)
        self._stall_s = stall_s
        whole, part = divmod(max(stall_s, 1e-3), 1)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", int(whole), int(part * 1e6)))
        self._ahead = memoryview(b"")
        """Received with a head, but behind it."""

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: Buffer = b"") -> None:
        """Send a request; answers come in order.

        Raises:
            SourceLostError: the connection broke.
            TransferStalledError: it takes nothing more.
        """
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {len(memoryview(body).cast('B'))}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            if body:
                self._socket.sendall(body)
        except OSError as exc:
            raise self._broken(exc) from exc

    def answer(self) -> Answer:
        """The head of the next answer.

        Raises:
            TransferError: the server's own error, or a connection that broke.
        """
        try:
            head = BytesIO(self._head())
            line = head.readline().split(None, 2)
            if len(line) < 2 or not line[0].startswith(b"HTTP/1.") or not line[1].isdigit():
                raise SourceLostError(f"the data server {self.url} closed the connection")
            headers = {name.lower(): value for name, value in parse_headers(head).items()}
        except (OSError, HTTPException) as exc:
            raise self._broken(exc) from exc
        answer = Answer(int(line[1]), headers, int(headers.get("content-length", "0")))
        if answer.status >= 300:
            raise self._error(answer)
        return answer

    def _head(self) -> bytes:
        head = bytes(self._ahead)
        while (end := head.find(b"\r\n\r\n")) < 0:
            more = self._socket.recv(_HEAD_AT_ONCE) if len(head) < _LARGEST_HEAD_BYTES else b""
            if not more:
                raise SourceLostError(f"the data server {self.url} closed the connection")
            head += more
        self._ahead = memoryview(head)[end + 4 :]
        return head[: end + 4]

    def _error(self, answer: Answer) -> FedproxyError:
        body = bytearray(min(answer.length, _LARGEST_ERROR_BYTES))
        self.read_into(memoryview(body))
        try:
            told = msgspec.json.decode(body)
            kind = getattr(errors, str(told.get("error")), TransferError)
            message = str(told.get("message"))
        except (msgspec.MsgspecError, AttributeError):
            kind, message = TransferError, f"the data server {self.url} answered {answer.status}"
        if not (isinstance(kind, type) and issubclass(kind, FedproxyError)):
            kind = TransferError
        return kind(message)

    def read_into(self, view: memoryview) -> None:
        """Receive exactly so many bytes of a body. Raises as `answer`."""
        done = min(len(view), len(self._ahead))
        view[:done], self._ahead = self._ahead[:done], self._ahead[done:]
        try:
            while done < len(view):
                count = self._socket.recv_into(view[done:], 0, socket.MSG_WAITALL)
                if not count:
                    raise SourceLostError(f"the data server {self.url} went away in the middle")
                done += count
        except OSError as exc:
            raise self._broken(exc) from exc

    def read(self, count: int) -> bytes:
        """So many bytes of a body. Raises as `answer`."""
        data = bytearray(count)
        self.read_into(memoryview(data))
        return bytes(data)

    def skip(self, count: int) -> None:
        """Receive so many bytes of a body for nothing. Raises as `answer`."""
        buffer = memoryview(bytearray(min(count, _LARGEST_ERROR_BYTES)))
        while count:
            view = buffer[: min(count, len(buffer))]
            self.read_into(view)
            count -= len(view)

    def send(self, view: Buffer) -> None:
        """Part of a request's body that `ask` announced. Raises as `ask`."""
        try:
            self._socket.sendall(view)
        except OSError as exc:
            raise self._broken(exc) from exc

    def _broken(self, exc: Exception) -> TransferError:
        if isinstance(exc, BlockingIOError):
            return TransferStalledError(f"no byte from {self.url} for {self._stall_s:.0f} s")
        return SourceLostError(f"the connection to {self.url} broke: {getattr(exc, 'strerror', None) or exc}")

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
