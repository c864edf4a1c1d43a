"""From a URL that the source publishes: HTTP, FTP, SFTP, object storage, whatever fsspec reads.

Strategy: HTTP is read with ranges over a connection whose peer address is checked before anything is sent, and redirects are followed one by one,
each checked. For other protocols the host is resolved and checked first, and the connection is made to that address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from xxhash import xxh3_64_hexdigest

from fedproxy.errors import FedproxyError, ForbiddenAddressError, RouteUnavailableError, SourceLostError, TransferStalledError
from fedproxy.store.connectors.fsspec_config import options_for, parse_url
from fedproxy.transfer.guard import Guard
from fedproxy.transfer.partial import LEAF_BYTES, Partial
from fedproxy.transfer.plan import URL
from fedproxy.transfer.routes.base import Move, Trip, Watch

_MOST_REDIRECTS = 5
_SFTP = ("sftp", "ssh")
_OWN_FILES = frozenset({"file", "local", "memory", "", "arrow_hdfs", "reference", "dir", "simplecache", "filecache", "blockcache", "cached"})
Reader = Callable[[int, int], bytes]
"""Bytes from … to …; fewer only at the end."""


class UrlRoute:
    """Reads what sites publish."""

    name = URL

    def __init__(self, guard: Guard, *, stall_s: float = 30.0) -> None:
        self._guard, self._stall_s = guard, stall_s

    def fetch(self, batch: Sequence[Move], trip: Trip, watch: Watch) -> None:
        """See `Route.fetch`."""
        for move in batch:
            base = trip.source.published.get(move.source.store)
            if base is None:
                raise RouteUnavailableError(f"site {trip.source.name!r} does not publish {move.source.store}")
            if watch.cancelled(move):
                continue
            try:
                with closing(open_url(below(base, move.source.key), self._guard, stall_s=self._stall_s)) as source:
                    move.partial.resize(move.wanted.size or source.size)
                    receive(source.read, move.partial, lambda count, move=move: watch.advanced(move, count))  # type: ignore[misc]
            except FedproxyError as exc:
                watch.failed(move, exc)
                continue
            watch.arrived(move)

    def close(self) -> None:
        """Connections last for one object only."""


def below(base: str, key: str) -> str:
    """The URL of an object of a folder; the folder's options stay behind it."""
    folder, mark, options = base.partition("?")
    return f"{folder.rstrip('/')}/{quote(key)}{mark}{options}"


def receive(read: Reader, partial: Partial, advanced: Callable[[int], None]) -> None:
    """Fill what is missing, piece by piece.

    Raises:
        SourceLostError: the source ends early.
    """
    for start, end in partial.missing():
        data = read(start, end)
        if len(data) != end - start:
            raise SourceLostError(f"the source ends at byte {start + len(data):,} of {partial.size:,}")
        partial.write(start, data)
        partial.settle(start, end, xxh3_64_hexdigest(data))
        advanced(len(data))


class HttpSource:
    """One HTTP(S) URL, read by ranges."""

    def __init__(self, url: str, guard: Guard, *, stall_s: float) -> None:
        self._guard, self._stall_s = guard, stall_s
        self._connection, self._path, self.size = self._find(url)

    def _find(self, url: str) -> tuple[HTTPConnection, str, int]:
        for _ in range(_MOST_REDIRECTS + 1):
            connection = self.connect(url, self._guard, self._stall_s)
            split = urlsplit(url)
            path = (split.path or "/") + (f"?{split.query}" if split.query else "")
            answer = self._answer(connection, path, 0, 1)
            answer.read()
            if answer.status in (301, 302, 303, 307, 308):
                connection.close()
                url = urljoin(url, answer.headers.get("Location", ""))
                continue
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if answer.status == 206 and total.isdigit():
                return connection, path, int(total)
            connection.close()
            raise SourceLostError(f"{split.netloc} answered {answer.status} instead of a range", hint="the object is gone, or the server has no ranges")
        raise RouteUnavailableError("too many redirects")

    @staticmethod
    def connect(url: str, guard: Guard, stall_s: float) -> HTTPConnection:
        """A connection whose peer may be reached. Raises ForbiddenAddressError, RouteUnavailableError."""
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.hostname:
            raise ForbiddenAddressError(f"a redirect to {split.scheme}:// is not followed")
        kind = HTTPSConnection if split.scheme == "https" else HTTPConnection
        connection = kind(split.hostname, split.port, timeout=stall_s)
        try:
            connection.connect()
        except OSError as exc:
            raise RouteUnavailableError(f"{split.netloc} does not answer: {exc.strerror or exc}") from exc
        try:
            guard.check(split.hostname, str(connection.sock.getpeername()[0]))
        except ForbiddenAddressError:
            connection.close()
            raise
        return connection

    def _answer(self, connection: HTTPConnection, path: str, start: int, end: int) -> HTTPResponse:
        try:
            connection.request("GET", path, headers={"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"})
            return connection.getresponse()
        except TimeoutError as exc:
            raise TransferStalledError(f"no byte from {connection.host} for {self._stall_s:.0f} s") from exc
        except (OSError, HTTPException) as exc:
            raise SourceLostError(f"the connection to {connection.host} broke: {exc}") from exc

    def read(self, start: int, end: int) -> bytes:
        """A range. Raises SourceLostError, TransferStalledError."""
        answer = self._answer(self._connection, self._path, start, end)
        if answer.status != 206:
            raise SourceLostError(f"{self._connection.host} answered {answer.status} in the middle")
        try:
            return answer.read()
        except TimeoutError as exc:
            raise TransferStalledError(f"no byte from {self._connection.host} for {self._stall_s:.0f} s") from exc
        except (OSError, HTTPException) as exc:
            raise SourceLostError(f"the connection to {self._connection.host} broke: {exc}") from exc

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()


class FsspecSource:
    """One URL of any other protocol."""

    def __init__(self, url: str, guard: Guard, *, stall_s: float) -> None:
        self._sftp = urlsplit(url).scheme in _SFTP
        self._files, self._path = filesystem_for(url, guard, stall_s=stall_s)
        try:
            self.size = int(self._call(self._files.size, self._path))
        except FedproxyError:
            self.close()
            raise

    def _call(self, work: Callable[..., Any], *args: Any) -> Any:
        try:
            return work(*args)
        except FileNotFoundError as exc:
            raise SourceLostError(f"no such file at the source: {self._path}") from exc
        except TimeoutError as exc:
            raise TransferStalledError(f"the source of {self._path} does not answer") from exc
        except Exception as exc:  # fsspec's file systems raise whatever their clients raise
            raise SourceLostError(f"cannot read {self._path}: {type(exc).__name__}: {exc}") from exc

    def read(self, start: int, end: int) -> bytes:
        """A range. Raises SourceLostError, TransferStalledError."""
        return bytes(self._call(self._read_ahead if self._sftp else self._files.cat_file, self._path, start, end))

    def _read_ahead(self, path: str, start: int, end: int) -> bytes:
        """By SFTP a range is many requests: all of them are under way at once, where ``cat_file`` waits for each."""
        with self._files.open(path, "rb") as file:
            return b"".join(file.readv([(start, end - start)]))

    def close(self) -> None:
        """Idempotent."""
        hang_up(self._files)


def filesystem_for(url: str, guard: Guard, *, stall_s: float = 30.0) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it. Its host is resolved and checked, and the connection is made to that address.

    Raises:
        ForbiddenAddressError: it leads where it may not.
        RouteUnavailableError: there is no such host, it does not let us in, or the protocol's library is not installed.
    """
    import fsspec

    config = parse_url(url)
    if config.protocol in _OWN_FILES or "::" in url:
        raise ForbiddenAddressError(f"{config.protocol}:// URLs of others are not read", hint="publish it by http, ftp, sftp or object storage")
    options = options_for(config)
    if "host" in options:
        options["host"] = guard.resolve(str(options["host"]), int(options.get("port", 0)))
    elif (endpoint := options.get("endpoint_url")) is not None:
        guard.resolve(urlsplit(endpoint).hostname or "", urlsplit(endpoint).port or 443)
    if config.protocol == "ftp":
        options.setdefault("timeout", stall_s)
    try:
        files = fsspec.filesystem(config.protocol, skip_instance_cache=True, **options)
        if config.protocol in _SFTP:
            files.ftp.get_channel().settimeout(stall_s)
    except Exception as exc:  # fsspec's file systems raise whatever their clients raise
        raise RouteUnavailableError(f"cannot open {config.protocol}://{config.netloc}: {type(exc).__name__}: {exc}") from exc
    return files, config.path if "host" in options else f"{config.netloc}{config.path}"


def hang_up(files: Any) -> None:
    """Close a file system's connections: an SFTP client is a thread that nobody else would end. Idempotent."""
    if set(_SFTP) & {files.protocol, *files.protocol}:
        files.client.close()


def open_url(url: str, guard: Guard, *, stall_s: float) -> HttpSource | FsspecSource:
    """What a URL leads to, with ``size`` and ``read``.

    Raises:
        ForbiddenAddressError: it leads where it may not.
        RouteUnavailableError: nobody answers.
        SourceLostError: there is no such file.
    """
    if urlsplit(url).scheme in ("http", "https"):
        return HttpSource(url, guard, stall_s=stall_s)
    try:
        return FsspecSource(url, guard, stall_s=stall_s)
    except FedproxyError:
        raise
    except (OSError, ImportError, ValueError) as exc:
        raise RouteUnavailableError(f"cannot open {urlsplit(url).scheme}://{urlsplit(url).hostname}: {exc}") from exc


def chunks(read: Reader, size: int) -> Iterator[bytes]:
    """The whole of a source, piece by piece."""
    for start in range(0, size, LEAF_BYTES):
        yield read(start, min(start + LEAF_BYTES, size))
