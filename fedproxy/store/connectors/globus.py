"""Objects in a folder of a Globus collection; other sites pull each once, when it is needed, and many in one transfer.

``globus://COLLECTION/PATH[?poll_s=1]``: the store's home is that folder of that collection. On machines whose own collection it is
(``transfer.globus_collection`` and ``globus_folder``), objects are plain files there. On others they are pulled into a folder of the machine's own
collection, where they stay for the next reader, and what is put there is pushed home. A copy is used for as long as size and time of the file at
home are what they were. ``poll_s``: how soon Globus is first asked how a transfer goes.

Strategy: each file begins with 64 bytes that hold its time of expiry and its length, because Globus writes in place: what is not all there yet is not
there. At home files are read, not mapped, for the same reason; copies are mapped.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID
from zlib import crc32

from attrs import evolve, frozen

from fedproxy.config.files import load_transfer
from fedproxy.config.home import PRIVATE_FILE, private_dir
from fedproxy.errors import (
    ConfigError,
    FedproxyError,
    StagingFullError,
    StoreClosedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    TransferError,
)
from fedproxy.store.connectors.base import Buffer, Parts, check_keys, new_key, parts_nbytes
from fedproxy.store.connectors.globus_client import Found, Globus, Item, Pace
from fedproxy.store.connectors.globus_login import find_login
from fedproxy.store.connectors.lifetime_head import HEAD_BYTES, body, head
from fedproxy.store.connectors.posix import translate, write_all

_SUFFIX = ".fpo"
_LENGTH = struct.Struct(">Q")
_MAP_FROM_BYTES = 64 * 1024
_LOCKS = 16
_FEW = 3
"""So many files are asked for one by one; for more the folder is listed."""


@frozen
class GlobusConfig:
    """What a URL says."""

    collection: str
    path: str
    poll_s: float = 1.0

    @property
    def url(self) -> str:
        """The canonical URL."""
        options = {} if self.poll_s == 1.0 else {"poll_s": f"{self.poll_s:g}"}
        return f"globus://{self.collection}{self.path}" + (f"?{urlencode(options)}" if options else "")

    def path_of(self, key: str) -> str:
        """Where an object lies in the collection."""
        return f"{self.path.rstrip('/')}/{key}{_SUFFIX}"


def parse_url(url: str) -> GlobusConfig:
    """The configuration in ``url``.

    Raises:
        ConfigError: no collection, or a path with ``..``.
    """
    split = urlsplit(url)
    path = str(PurePosixPath("/" + split.path.strip("/")))
    try:
        options = dict(parse_qsl(split.query, strict_parsing=bool(split.query)))
        config = GlobusConfig(str(UUID(split.netloc)), path, float(options.pop("poll_s", 1.0)))
    except ValueError as exc:
        raise ConfigError(f"not the URL of a Globus store: {url!r}", hint="globus://COLLECTION-UUID/PATH") from exc
    if options or ".." in PurePosixPath(path).parts:
        raise ConfigError(f"not the URL of a Globus store: {url!r}", hint="it has no '..' and no option but poll_s")
    return config


def connect(url: str) -> GlobusConnector:
    """The connector for ``globus://`` URLs."""
    return GlobusConnector(parse_url(url))


@frozen
class Local:
    """The folder of this machine that holds a store's files, and where this machine's own collection shows it."""

    collection: str
    folder: Path
    path: str
    home: bool

    @classmethod
    def of(cls, config: GlobusConfig) -> Local:
        """At home the store's folder itself, else one for copies.

        Raises:
            StoreUnavailableError: this machine has no collection.
        """
        own = load_transfer()
        if not (own.globus_collection and own.globus_folder):
            raise StoreUnavailableError(
                "this machine has no Globus collection", store=config.url, hint="set transfer.globus_collection and transfer.globus_folder")
        base, folder = PurePosixPath(own.globus_base_path), Path(own.globus_folder)
        path = PurePosixPath(config.path)
        if own.globus_collection == config.collection and path.is_relative_to(base):
            return cls(config.collection, folder / path.relative_to(base), config.path, True)
        name = f"fedproxy-copies-{hashlib.sha256(config.url.encode()).hexdigest()[:16]}"
        return cls(own.globus_collection, folder / name, str(base / name), False)

    def file(self, key: str) -> Path:
        """Where an object lies on this machine."""
        return self.folder / f"{key}{_SUFFIX}"


class GlobusConnector:
    """One object, one file. Safe to use from many threads and processes."""

    in_memory = False

    def __init__(self, config: GlobusConfig) -> None:
        self.config, self.url = config, config.url
        self._globus = Globus(pace=evolve(Pace(), first_s=config.poll_s))
        self._known: Local | None = None
        self._closed = False

    # ------------------------------------------------------------ objects

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Write a file; elsewhere than at home, push it there."""
        return self.put_batch([parts], keys=None if key is None else [key], ttl_s=ttl_s)[0]

    def get(self, key: str) -> Buffer | None:
        """The object; pulled if it is not here."""
        return self.get_batch([key])[0]

    def exists(self, key: str) -> bool:
        """Whether it is there; elsewhere than at home that pulls it, to be had when it is asked for."""
        return self.get(key) is not None

    def evict(self, key: str) -> None:
        """Forget it, here and at home."""
        self.evict_batch([key])

    def get_range(self, key: str, start: int, length: int) -> Buffer | None:
        """Part of an object, which is pulled as a whole."""
        data = self.get(key)
        return None if data is None else memoryview(data)[start:start + length]

    # ------------------------------------------------------------ batches: one transfer each

    def put_batch(self, items: Sequence[Parts], *, keys: Sequence[str] | None = None, ttl_s: float | None = None) -> list[str]:
        """``put`` for each, in one transfer."""
        names = [new_key() for _ in items] if keys is None else list(check_keys(keys))
        here = self._local()
        with self._locked(names), self._translated():
            for name, parts in zip(names, items, strict=True):
                self._write(here.file(name), [_head(ttl_s, parts_nbytes(parts)), *parts])
            if not here.home and names:
                self._push(here, names)
        return names

    def get_batch(self, keys: Sequence[str]) -> list[Buffer | None]:
        """``get`` for each; what is not here comes in one transfer."""
        here = self._local()
        check_keys(keys)
        if not here.home and keys:
            with self._locked(keys), self._translated():
                self._pull(here, list(dict.fromkeys(keys)))
        return [self._read(here.file(key), mapped=not here.home) for key in keys]

    def exists_batch(self, keys: Sequence[str]) -> list[bool]:
        """``exists`` for each."""
        return [found is not None for found in self.get_batch(keys)]

    def evict_batch(self, keys: Sequence[str]) -> None:
        """``evict`` for each, in one task."""
        here = self._local()
        with self._locked(check_keys(keys)), self._translated():
            for key in keys:
                here.file(key).unlink(missing_ok=True)
            if not here.home and keys:
                self._globus.wait(self._globus.delete(self.config.collection, [self.config.path_of(key) for key in dict.fromkeys(keys)]))

    # ------------------------------------------------------------ the store as a whole

    def reachable(self) -> bool:
        """Whether this machine has a collection, and something to log in with. Globus itself is not asked."""
        with suppress(FedproxyError):
            return Local.of(self.config).home or bool(find_login())
        return False

    def close(self, *, clear: bool = False) -> None:
        """Let go; ``clear`` removes the objects, here and at home."""
        if self._closed:
            return
        try:
            if clear:
                self.evict_batch(self._names())
        finally:
            self._closed = True
            self._globus.close()

    def _names(self) -> list[str]:
        here = self._local()
        with self._translated():
            there = [] if here.home else [found.name for found in self._globus.listing(self.config.collection, self.config.path)]
        names = {*there, *(entry.name for entry in os.scandir(here.folder))}
        return [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]

    # ------------------------------------------------------------ between here and home

    def _push(self, here: Local, keys: Sequence[str]) -> None:
        """What was just written here goes home."""
        paths = [(f"{here.path}/{key}{_SUFFIX}", self.config.path_of(key)) for key in keys]
        try:
            self._globus.wait(self._globus.submit(here.collection, self.config.collection, [Item(*each) for each in paths]))
        except FedproxyError:
            for key in keys:
                here.file(key).unlink(missing_ok=True)
            raise
        for key, found in self._at_home(keys).items():
            _stamp(here.file(key), found)

    def _pull(self, here: Local, keys: Sequence[str]) -> None:
        """Have copies here that are like what is at home; what is gone there goes here too."""
        there = self._at_home(keys)
        for key in keys:
            if key not in there:
                here.file(key).unlink(missing_ok=True)
        stale = [key for key, found in there.items() if not _is_like(here.file(key), found)]
        if not stale:
            return
        items = [Item(self.config.path_of(key), f"{here.path}/{key}.part") for key in stale]
        task_id = self._globus.submit(self.config.collection, here.collection, items)
        self._globus.wait(task_id)
        lost = self._globus.lost(task_id)
        for key in stale:
            arrived = here.folder / f"{key}.part"
            if self.config.path_of(key) not in lost:
                _stamp(arrived, there[key])
                os.replace(arrived, here.file(key))

    def _at_home(self, keys: Sequence[str]) -> dict[str, Found]:
        if len(keys) > _FEW:
            listed = {found.name: found for found in self._globus.listing(self.config.collection, self.config.path)}
            return {key: listed[key + _SUFFIX] for key in keys if key + _SUFFIX in listed}
        asked = {key: self._globus.find(self.config.collection, self.config.path_of(key)) for key in keys}
        return {key: found for key, found in asked.items() if found is not None}

    # ------------------------------------------------------------ files

    def _local(self) -> Local:
        if self._closed:
            raise StoreClosedError("this store was closed", store=self.url)
        if self._known is None:
            local = Local.of(self.config)
            private_dir(local.folder)
            self._known = local  # other threads may know it when it is there
        return self._known

    def _write(self, path: Path, parts: Parts) -> None:
        temporary = path.with_name(f".{path.name}.{new_key()}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
            try:
                write_all(descriptor, parts)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def _read(self, path: Path, *, mapped: bool) -> Buffer | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise translate(exc, f"cannot read {path}", store=self.url) from exc
        try:
            size = os.fstat(descriptor).st_size
            whole: Buffer
            if mapped and size >= _MAP_FROM_BYTES:
                whole = mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            else:
                whole = os.pread(descriptor, size, 0)
        finally:
            os.close(descriptor)
        return body(whole) if _is_whole(memoryview(whole)) else None

    @contextmanager
    def _locked(self, keys: Sequence[str]) -> Iterator[None]:
        """Nobody else on this machine pulls or changes these objects meanwhile: each is pulled once."""
        here = self._local()
        with ExitStack() as stack:
            for number in sorted({crc32(key.encode()) % _LOCKS for key in keys}):
                descriptor = os.open(here.folder / f".lock-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except StagingFullError as exc:
            raise StoreFullError(exc.message, store=self.url, hint=exc.hint) from exc
        except TransferError as exc:
            raise StoreUnavailableError(exc.message, store=self.url, hint=exc.hint) from exc
        except OSError as exc:
            raise translate(exc, "cannot write here", store=self.url) from exc


def _head(ttl_s: float | None, length: int) -> bytes:
    return head(ttl_s)[:HEAD_BYTES - _LENGTH.size] + _LENGTH.pack(length)


def _is_whole(view: memoryview) -> bool:
    return len(view) >= HEAD_BYTES and _LENGTH.unpack(view[HEAD_BYTES - _LENGTH.size:HEAD_BYTES])[0] == len(view) - HEAD_BYTES


def _stamp(copy: Path, found: Found) -> None:
    """Note on the copy what it is a copy of."""
    with suppress(OSError):
        os.utime(copy, (0, datetime.fromisoformat(found.modified).timestamp()))


def _is_like(copy: Path, found: Found) -> bool:
    try:
        status = copy.stat()
    except OSError:
        return False
    return status.st_size == found.size and int(status.st_mtime) == int(datetime.fromisoformat(found.modified).timestamp())
