"""Objects on anything fsspec reaches: S3, GCS, Azure, SFTP, FTP, SMB, WebDAV, HTTP, ...

Strategy: one object is one file ``ROOT/KEY``. Object storage writes whole objects by itself (and cuts large ones into
parts); elsewhere a temporary name is renamed. Large objects are read as ranges in parallel, into one buffer. fsspec
knows no lifetimes, so each file begins with 64 bytes that hold its own: an expired object is not there, and ``gc``
removes it.
"""

from __future__ import annotations

import errno
import importlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from fedproxy.errors import MissingExtraError, StoreClosedError, StoreError, StoreFullError, StoreUnavailableError
from fedproxy.store.connectors.base import Buffer, Entry, Parts, Span, check_key, new_key
from fedproxy.store.connectors.fsspec_config import FsspecConfig, options_for, parse_url
from fedproxy.store.connectors.lifetime_head import HEAD_BYTES, NEVER, body, expiry_of, head
from fedproxy.store.connectors.registry import EXTRAS, missing_extra

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss", "oci", "memory", "tos", "obs"})
"""Where a write is seen whole or not at all, without a rename."""


def connect(url: str) -> FsspecConnector:
    """The connector for any URL that fsspec knows."""
    return FsspecConnector(parse_url(url))


class FsspecConnector:
    """Bytes by key as files of one folder or bucket."""

    in_memory = False

    def __init__(self, config: FsspecConfig) -> None:
        self.config = config
        self.url = config.url
        self._fs: Any = None
        self._root = ""
        self._pid = 0
        self._closed = False
        _filesystem_class(config.protocol)

    # one object

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Write; see ``Connector.put``."""
        key = new_key() if key is None else check_key(key)
        with self._translated(key) as fs:
            self._write(fs, self._path(key), [head(ttl_s), *parts])
        return key

    def _write(self, fs: Any, path: str, parts: Parts) -> None:
        if self.config.protocol in OBJECT_STORES:
            fs.pipe_file(path, b"".join(parts))
            return
        temporary = f"{self._root}/.tmp-{new_key()}"
        try:
            with fs.open(temporary, "wb") as file:
                for part in parts:
                    file.write(part)
            fs.mv(temporary, path)
        except BaseException:
            with suppress(Exception):
                fs.rm_file(temporary)
            raise

    def get(self, key: str) -> Buffer | None:
        """Read; see ``Connector.get``."""
        path = self._path(check_key(key))
        with self._translated(key) as fs:
            try:
                first = self._first(fs, path)
                if len(first) < self.config.range_bytes:
                    return body(memoryview(first))
                return body(self._in_ranges(fs, path, first))
            except FileNotFoundError:
                return None

    def _first(self, fs: Any, path: str) -> bytes:
        """The beginning, which is all of most objects: one request."""
        return bytes(fs.cat_file(path, start=0, end=self.config.range_bytes))

    def _in_ranges(self, fs: Any, path: str, first: bytes) -> memoryview:
        total, step = int(fs.info(path)["size"]), self.config.range_bytes
        whole = memoryview(bytearray(total))
        whole[: len(first)] = first

        def fetch(start: int) -> None:
            part = fs.cat_file(path, start=start, end=min(total, start + step))
            whole[start : start + len(part)] = part

        with ThreadPoolExecutor(self.config.parallel) as pool:
            list(pool.map(fetch, range(len(first), total, step)))
        return whole

    def get_range(self, key: str, start: int, length: int) -> Buffer | None:
        """Part of an object; see ``SupportsRange.get_range``."""
        path = self._path(check_key(key))
        with self._translated(key) as fs:
            try:
                if body(memoryview(fs.cat_file(path, start=0, end=HEAD_BYTES))) is None:
                    return None
                total = int(fs.info(path)["size"])
                first, last = HEAD_BYTES + start, min(total, HEAD_BYTES + start + length)
                return bytes(fs.cat_file(path, start=first, end=last)) if first < last else b""
            except FileNotFoundError:
                return None

    def get_ranges(self, spans: Sequence[Span]) -> list[Buffer | None]:
        """Parts of many objects: two requests for each, its head and the part, all of them several at a time."""
        with self._translated("") as fs:
            paths = [self._path(check_key(key)) for key, _, _ in spans]
            once = list(dict.fromkeys(paths))
            heads = dict(zip(once, _cat(fs, once, [0] * len(once), [HEAD_BYTES] * len(once)), strict=True))
            alive = [index for index, path in enumerate(paths) if (top := heads[path]) is not None and body(memoryview(top)) is not None]
            found: list[Buffer | None] = [None] * len(spans)
            for index in alive:
                found[index] = b""
            alive = [index for index in alive if spans[index][2]]  # a range of no bytes is not one to S3
            starts = [HEAD_BYTES + spans[index][1] for index in alive]
            ends = [start + spans[index][2] for start, index in zip(starts, alive, strict=True)]
            for index, part in zip(alive, _cat(fs, [paths[index] for index in alive], starts, ends), strict=True):
                found[index] = part
            return found

    def exists(self, key: str) -> bool:
        """Whether it is there and has not expired."""
        path = self._path(check_key(key))
        with self._translated(key) as fs:
            try:
                return body(memoryview(fs.cat_file(path, start=0, end=HEAD_BYTES))) is not None
            except FileNotFoundError:
                return False

    def evict(self, key: str) -> None:
        """Forget it."""
        path = self._path(check_key(key))
        with self._translated(key) as fs, suppress(FileNotFoundError):
            fs.rm_file(path)

    def touch(self, key: str, ttl_s: float | None) -> bool:
        """Let it live ``ttl_s`` from now, or for ever. Writes the object anew: fsspec cannot change part of a file."""
        value = self.get(key)
        if value is None:
            return False
        self.put([value], key=key, ttl_s=ttl_s)
        return True

    # many

    def put_batch(
        self, items: Sequence[Parts], *, keys: Sequence[str] | None = None, ttl_s: float | None = None
    ) -> list[str]:
        """``put`` for each, several at a time."""
        wanted: Sequence[str | None] = [None] * len(items) if keys is None else keys
        with ThreadPoolExecutor(self.config.parallel) as pool:
            return list(pool.map(lambda parts, key: self.put(parts, key=key, ttl_s=ttl_s), items, wanted))

    def get_batch(self, keys: Sequence[str]) -> list[Buffer | None]:
        """``get`` for each, several at a time."""
        with ThreadPoolExecutor(self.config.parallel) as pool:
            return list(pool.map(self.get, keys))

    def exists_batch(self, keys: Sequence[str]) -> list[bool]:
        """``exists`` for each, several at a time."""
        with ThreadPoolExecutor(self.config.parallel) as pool:
            return list(pool.map(self.exists, keys))

    def evict_batch(self, keys: Sequence[str]) -> None:
        """``evict`` for each, several at a time."""
        with ThreadPoolExecutor(self.config.parallel) as pool:
            list(pool.map(self.evict, keys))

    # the store as a whole

    def entries(self) -> Iterator[Entry]:
        """Every live object."""
        now = time.time()
        for name, size, expires in self._listing():
            if expires > now and not name.startswith("."):
                yield Entry(name, size - HEAD_BYTES, None if expires == NEVER else expires - now)

    def gc(self) -> int:
        """Remove what has expired; how many."""
        gone = [name for name, _, expires in self._listing() if expires <= time.time()]
        self.evict_batch([name for name in gone if not name.startswith(".")])
        return len(gone)

    def _listing(self) -> list[tuple[str, int, float]]:
        """Name, size and expiry of each file that is ours."""
        with self._translated("") as fs:
            try:
                files = [row for row in fs.ls(self._root, detail=True, refresh=True) if row["type"] == "file"]
            except FileNotFoundError:
                return []
            with ThreadPoolExecutor(self.config.parallel) as pool:
                ends = list(pool.map(lambda row: _expiry_of(fs, row["name"]), files))
        found = [(row["name"].rpartition("/")[2], int(row["size"])) for row in files]
        return [(*row, expires) for row, expires in zip(found, ends, strict=True) if expires is not None]

    def reachable(self) -> bool:
        """Whether the place answers."""
        try:
            with self._translated("") as fs:
                fs.exists(self._root)
        except StoreError:
            return False
        return True

    def close(self, *, clear: bool = False) -> None:
        """Let go; ``clear`` removes the objects of this store."""
        if self._closed:
            return
        try:
            if clear:
                self.evict_batch([name for name, _, _ in self._listing() if not name.startswith(".")])
        finally:
            self._closed = True
            self._fs = None

    # the adapter's edge

    def _path(self, key: str) -> str:
        self._filesystem()
        return f"{self._root}/{key}"

    def _filesystem(self) -> Any:
        """The file system, made on first use and again after a fork.

        Raises:
            StoreClosedError: after ``close``.
        """
        if self._closed:
            raise StoreClosedError("this store was closed", store=self.url)
        if self._fs is None or self._pid != os.getpid():
            try:
                self._fs = _filesystem_class(self.config.protocol)(**options_for(self.config), skip_instance_cache=True)
                self._root = self._fs._strip_protocol(self.config.place).rstrip("/")
                if self.config.protocol not in OBJECT_STORES:
                    self._fs.makedirs(self._root, exist_ok=True)
            except Exception as exc:
                raise _in_our_words(exc, "", self.url) from exc
            self._pid = os.getpid()
        return self._fs

    @contextmanager
    def _translated(self, key: str) -> Iterator[Any]:
        """The file system; what its library raises comes out in our words."""
        fs = self._filesystem()
        try:
            yield fs
        except StoreError:
            raise
        except Exception as exc:  # every file system raises the errors of its own library
            raise _in_our_words(exc, key, self.url) from exc


def _filesystem_class(protocol: str) -> Any:
    try:
        return importlib.import_module("fsspec").get_filesystem_class(protocol)
    except ValueError as exc:
        raise StoreUnavailableError(f"fsspec does not know {protocol}://", hint="check the URL's scheme") from exc
    except ImportError as exc:
        raise _missing(exc, protocol) from exc


def _missing(exc: ImportError, protocol: str) -> MissingExtraError:
    """The error for a file system whose library is not installed; fsspec hides its name in the cause."""
    cause = exc.__cause__ or exc.__context__ or exc
    name = str(getattr(cause, "name", None) or getattr(exc, "name", None) or "its library").partition(".")[0]
    if name in EXTRAS:
        return missing_extra(name, protocol)
    return MissingExtraError(f"{protocol}:// stores need {name}", hint=f"pip install {name}")


def _cat(fs: Any, paths: list[str], starts: list[int], ends: list[int]) -> list[bytes | None]:
    """Parts of files; None where there is no file, and nothing where a part begins behind the end of one."""
    found: list[bytes | None] = []
    for part in fs.cat_ranges(paths, starts, ends, on_error="return") if paths else ():
        if isinstance(part, FileNotFoundError):
            found.append(None)
        elif isinstance(part, Exception) and _is_behind_the_end(part):
            found.append(b"")
        elif isinstance(part, Exception):
            raise part
        else:
            found.append(bytes(part))
    return found


def _is_behind_the_end(exc: Exception) -> bool:
    """Whether HTTP's 416 is the cause (S3, web servers)."""
    return "InvalidRange" in str(exc) or "not satisfiable" in str(exc) or getattr(exc, "status", None) == 416


def _expiry_of(fs: Any, path: str) -> float | None:
    """When a file expires; None where it is not ours or has gone."""
    try:
        return expiry_of(fs.cat_file(path, start=0, end=HEAD_BYTES))
    except FileNotFoundError:
        return None


def _in_our_words(exc: Exception, key: str, url: str) -> StoreError:
    code = getattr(exc, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(f"no room: {exc}", key=key, store=url, hint="remove objects or ask for more quota")
    if isinstance(exc, PermissionError) or "Credentials" in type(exc).__name__:
        return StoreUnavailableError(
            f"access refused: {exc}", key=key, store=url,
            hint="credentials come from this machine: environment, ~/.aws, or the table credentials.json",
        )
    return StoreUnavailableError(
        f"{type(exc).__name__}: {exc}", key=key, store=url, hint="is the place there, and can this machine reach it?"
    )
