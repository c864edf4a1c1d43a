"""One REST client: requests, with fedproxy's errors and one connection for each thread. The hot path (a batch of tasks) goes through `fast_post`."""

from __future__ import annotations

import json
import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from fedproxy import errors
from fedproxy.protocol.codec import Buffer
from fedproxy.wire.fast_post import FastPost
from fedproxy.wire.fast_stream import FastStream
from fedproxy.wire.plain_http import usable

_BY_STATUS: dict[int, type[errors.ServiceError]] = {
    401: errors.AuthenticationError, 403: errors.AuthenticationError, 404: errors.NotFoundError, 409: errors.ConflictError,
    413: errors.PayloadTooLargeError, 429: errors.ServiceBusyError, 503: errors.ServiceBusyError,
    507: errors.ServiceFullError,
}
_RETRY_AFTER_S = 1.0
"""Where whoever answers 429 or 503 (a proxy before the service, say) does not tell in its body."""
START_HINT = "start it with `fedproxy up`, or set FEDPROXY_SERVICE_URL"
BINARY = "application/vnd.fedproxy"


class RestClient:
    """Requests to one service as one user. Thread-safe: each thread has its own connection."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._open: weakref.WeakSet[requests.Session | FastPost] = weakref.WeakSet()
        """What `close` has to close. A thread's session goes with the thread, or with `release`."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RestClient({self.url!r})"

    def json(self, method: str, path: str, body: object = None, *, timeout_s: float | None = None) -> Any:
        """One request with a JSON answer.

        Raises:
            ServiceUnavailableError: the service cannot be reached.
            ServiceError: it answered with an error; the subclass says which.
        """
        return self._checked(self._request(method, path, timeout_s, json=body)).json()

    def binary(self, method: str, path: str, data: Buffer | None = None) -> bytes:
        """One request with a binary body and answer. Raises as `json`."""
        return self._checked(self._request(method, path, None, data=data, headers={"Content-Type": BINARY})).content

    def tell(self, method: str, path: str, body: object) -> None:
        """One request with a JSON body and an answer that says nothing. Raises as `json`."""
        self._checked(self._request(method, path, None, json=body))

    def raw(self, method: str, path: str, *, data: Iterable[bytes] | Buffer | None = None, headers: Mapping[str, str] | None = None,
            timeout_s: float | None = None) -> requests.Response:
        """One request whose bodies are streamed both ways. The answer is to be read or closed. Raises as `json`."""
        return self._checked(self._request(method, path, timeout_s, data=data, headers=headers, stream=True))

    def line(self, path: str) -> Line:
        """A connection of its own for POSTs to one path."""
        fast = FastPost(self.url, self._token, BINARY) if usable(self.url) else None
        if fast is not None:
            with self._lock:
                self._open.add(fast)
        return Line(self, path, fast, self._timeout_s)

    def stream(self, path: str, *, silence_s: float) -> Stream:
        """An answer that goes on. ``silence_s`` without a byte is an error. Raises as `json`."""
        if not usable(self.url):
            return _ProxiedStream(self, self._session(), path, silence_s)
        try:
            stream = FastStream(self.url, self._token, path, silence_s)
        except OSError as exc:
            raise self.unavailable(exc) from None
        if stream.status >= 400:
            raise _error(stream.status, stream.error)
        return stream

    def close(self) -> None:
        """Close every connection. Idempotent."""
        with self._lock:
            opened = list(self._open)
            self._open.clear()
        for connection in opened:
            connection.close()

    def release(self) -> None:
        """Close the calling thread's connection: it will not be needed again. Idempotent."""
        session: requests.Session | None = self._local.__dict__.pop("session", None)
        if session is not None:
            session.close()

    def _request(self, method: str, path: str, timeout_s: float | None, **options: Any) -> requests.Response:
        try:
            return self._session().request(method, self.url + path, timeout=timeout_s or self._timeout_s, **options)
        except requests.RequestException as exc:
            raise self.unavailable(exc) from None  # the message has the cause; the chain below it is forty lines of urllib3

    def unavailable(self, exc: Exception) -> errors.ServiceUnavailableError:
        """What failed, in one line."""
        return errors.ServiceUnavailableError(f"no service at {self.url}: {_cause(exc)}", hint=START_HINT)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["Authorization"] = f"Bearer {self._token}"
            session.headers["Accept-Encoding"] = "identity"
            if self.url.startswith("http://127.") or self.url.startswith("http://localhost"):
                session.trust_env = False  # no proxy for loopback, no netrc look-up on every request
            session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=4))
            session.mount("https://", HTTPAdapter(pool_connections=1, pool_maxsize=4))
            self._local.session = session
            with self._lock:
                self._open.add(session)
        return session

    @staticmethod
    def _checked(response: requests.Response) -> requests.Response:
        if response.status_code < 400:
            return response
        raise _error(response.status_code, response.content)


class Stream(Protocol):
    """An answer that goes on, in pieces."""

    shared: bool
    """Whether it can be waited for with ``poll``, and so be read by one thread after another."""

    def fileno(self) -> int:
        """To wait for with ``poll``."""

    def pending(self) -> bool:
        """Whether there is something to read that ``poll`` does not see."""

    def read(self) -> Iterator[memoryview]:
        """What has come; waits for it if need be.

        Raises:
            OSError, ServiceUnavailableError: it has ended or broken.
        """

    def interrupt(self) -> None:
        """End it, from any thread: whoever reads gets an error."""

    def close(self) -> None:
        """Idempotent."""


class _ProxiedStream:
    """A stream by way of a proxy: requests knows how."""

    shared = False

    def __init__(self, client: RestClient, session: requests.Session, path: str, silence_s: float) -> None:
        self._client = client
        try:
            self._response = session.get(client.url + path, stream=True, timeout=(10.0, silence_s))
        except requests.RequestException as exc:
            raise client.unavailable(exc) from None
        client._checked(self._response)
        self._chunks = self._response.raw.read_chunked()

    def fileno(self) -> int:
        raise OSError("a stream through a proxy has no descriptor to wait for")

    def pending(self) -> bool:
        return False

    def read(self) -> Iterator[memoryview]:
        try:
            yield memoryview(next(self._chunks))
        except StopIteration:
            raise ConnectionResetError("the service ended the stream") from None
        except (requests.RequestException, HTTPError, OSError) as exc:
            raise self._client.unavailable(exc) from None

    def interrupt(self) -> None:
        """End it, from any thread."""
        connection = self._response.raw.connection
        with suppress(OSError):
            if connection is not None and connection.sock is not None:
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self._response.close()


class Line:
    """POSTs to one path on the short way (see `fast_post`), where there is one. One request at a time: the caller sees to that."""

    def __init__(self, client: RestClient, path: str, fast: FastPost | None, timeout_s: float) -> None:
        self._client, self._path, self._fast, self._timeout_s = client, path, fast, timeout_s

    def start(self, parts: Sequence[Buffer]) -> bool:
        """Send without waiting for the answer; False where that cannot be had, or did not work: nothing is under way then."""
        if self._fast is None:
            return False
        try:
            self._fast.start(self._path, b"".join(parts), self._timeout_s)
        except OSError:
            return False
        return True

    def answered(self) -> bool:
        """Whether `finish` need not wait for long."""
        return self._fast is not None and self._fast.answered()

    def finish(self) -> bytes:
        """The answer to what was started. Raises as `RestClient.json`."""
        assert self._fast is not None
        return self._checked(self._fast.finish)

    def post(self, parts: Sequence[Buffer]) -> bytes:
        """Send and wait for the answer. Raises as `RestClient.json`."""
        body, fast = b"".join(parts), self._fast
        if fast is None:
            return self._client.binary("POST", self._path, body)
        return self._checked(lambda: fast.post(self._path, body, self._timeout_s))

    def close(self) -> None:
        """Close the connection. Idempotent; a later request opens another."""
        if self._fast is not None:
            self._fast.close()

    def _checked(self, answer: Callable[[], tuple[int, bytes]]) -> bytes:
        try:
            status, content = answer()
        except OSError as exc:
            raise self._client.unavailable(exc) from None
        if status >= 400:
            raise _error(status, content)
        return content


def _cause(exc: BaseException) -> str:
    """The innermost reason: requests wraps urllib3, which wraps the operating system."""
    while True:
        inner = exc.__cause__ or exc.__context__ or next((a for a in exc.args if isinstance(a, BaseException)), None)
        inner = inner or getattr(exc, "reason", None)
        if not isinstance(inner, BaseException):
            return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        exc = inner


def _error(status: int, content: bytes) -> errors.FedproxyError:
    """The service's own error where it names one of ours; otherwise by status."""
    kind: type[errors.FedproxyError] = _BY_STATUS.get(status, errors.ServiceError)
    message, hint, retry_after_s = f"the service answered {status}", None, _RETRY_AFTER_S
    with suppress(ValueError, AttributeError):
        body = json.loads(content)
        named = getattr(errors, str(body.get("error")), None)
        if isinstance(named, type) and issubclass(named, errors.FedproxyError):
            kind = named
        message, hint = str(body.get("message") or message), body.get("hint")
        retry_after_s = float(body.get("retry_after_s", retry_after_s))
    if issubclass(kind, errors.ServiceBusyError):
        return kind(message, retry_after_s=retry_after_s, status=status, hint=hint)
    return kind(message, hint=hint)
