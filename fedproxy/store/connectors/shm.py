"""Objects in this machine's memory, for all processes of this user.

``shm://HOST_ID/NAMESPACE[?lease_s=600][&arena_bytes=N][&root=/dev/shm]``

Strategy: an object is a file in a private folder of a memory file system. Large ones are mapped by their readers, never
read, privately, so that what a reader changes stays its own; their writer keeps the files of evicted objects and writes
the next ones into pages that are there already (``shm_arena``). Small ones of a batch share one file (``packs``).
Objects live until they are evicted, until their ``ttl`` is over, or until a lease after their owner's death
(``shm_owner``).
"""

from __future__ import annotations

import mmap
import os
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from fedproxy.config.home import host_id
from fedproxy.errors import ConfigError, InvalidKeyError, StoreUnavailableError
from fedproxy.store.connectors import packs, shm_owner, waiting
from fedproxy.store.connectors.base import Buffer, Entry, Parts, check_key, new_key, parts_nbytes
from fedproxy.store.connectors.folder import PACK, TEMPORARY, FolderConnector
from fedproxy.store.connectors.keeper import Keeper
from fedproxy.store.connectors.kept_files import KeptFile, KeptFiles
from fedproxy.store.connectors.posix import open_directory, translate
from fedproxy.store.connectors.shm_layout import (
    EXPIRES,
    EXPIRES_OFFSET,
    HEAD_BYTES,
    TURN,
    Head,
    parse_head,
)
from fedproxy.store.connectors.shm_reading import OPEN_READ, load, open_kept, read_head
from fedproxy.store.connectors.shm_reaper import is_our_turn, leave_folder, reap, reap_neighbours
from fedproxy.store.connectors.shm_writer import Writer
from fedproxy.store.urls import StoreUrl

ROOT = "/dev/shm"  # noqa: S108  the memory file system; the folder in it is private
DEFAULT_LEASE_S = 600.0

T = TypeVar("T")


class ShmConnector(FolderConnector):
    """Shared memory of one host, one user, one namespace."""

    in_memory = True
    _pack_origin = HEAD_BYTES

    def __init__(
        self, namespace: str, *, root: str = ROOT, lease_s: float = DEFAULT_LEASE_S, arena_bytes: int | None = None,
        url: str = "",
    ) -> None:
        self.url = url or f"shm://{host_id()}/{check_key(namespace)}"
        self._path = folder_of(namespace, root)
        self._where = os.fspath(self._path)
        self._directory = open_directory(self._path, store=self.url, ours_alone=True)
        self._lease_s = lease_s
        self._arena_bytes = _default_arena_bytes(self._directory) if arena_bytes is None else arena_bytes
        self._writer: Writer | None = None
        self._keeper: Keeper | None = None
        self._lock = threading.Lock()
        self._kept = KeptFiles()
        self._ending: weakref.finalize[..., ShmConnector] = weakref.finalize(self, leave_folder, self._directory, self._path)

    # -- objects

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Write into warm pages where there are some, else into a new file."""
        name = new_key() if key is None else check_key(key)
        writer = self._writing()
        try:
            writer.put(name, parts, parts_nbytes(parts), _expiry(ttl_s), replace=key is not None)
        except OSError as exc:
            raise translate(exc, f"cannot write in {self._path}", store=self.url, key=key) from exc
        if key is not None:
            waiting.wake(self._directory, name)
        return name

    def put_small(self, items: Sequence[bytes], *, ttl_s: float | None = None) -> list[str]:
        """One file for all."""
        try:
            base = self._writing().put_pack(items, _expiry(ttl_s))
        except OSError as exc:
            raise translate(exc, f"cannot write in {self._path}", store=self.url) from exc
        return [f"{base}.{place}" for place in range(len(items))]

    # -- more powers

    def touch(self, key: str, ttl_s: float | None) -> bool:
        """Change when it expires; of an object that was put in a batch, the whole batch."""
        if not self.exists(key):
            return False
        self._kept.forget(key)
        place = packs.place_of(key)
        for name in [key] if place is None else [PACK + place[0], key]:
            with suppress(FileNotFoundError):
                descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd())
                try:
                    os.pwrite(descriptor, EXPIRES.pack(_expiry(ttl_s)), EXPIRES_OFFSET)
                finally:
                    os.close(descriptor)
                return True
        return False

    def wait(self, key: str, timeout_s: float | None) -> bool:
        """Sleep until somebody puts it."""
        return self._making_it(lambda: super(ShmConnector, self).wait(key, timeout_s))

    def entries(self) -> Iterator[Entry]:
        """Every object that has not expired."""
        now = time.time()
        for name in self._names():
            if name.startswith("."):
                if name.startswith(PACK):
                    yield from self._pack_entries(name[len(PACK) :])
                continue
            head = self._head(name)
            if head is not None and head.key == name and not head.expired(now):
                yield Entry(name, head.size, head.expires - now if head.expires else None)

    def gc(self) -> int:
        """Remove what expired and what dead owners left when their lease was over, also from this user's other namespaces; tells how many from this one."""
        reap_neighbours(self._path)
        return reap(self._fd()) if self._names() else 0

    def close(self, *, clear: bool = False) -> None:
        """Let go; the objects stay for ``lease_s``. ``clear`` removes all objects of this namespace."""
        if self._directory < 0:
            return
        self._kept.close()
        if self._keeper is not None:
            self._keeper.stop()
        if clear:
            with suppress(StoreUnavailableError):  # somebody took the folder away
                self._clear()
        self._ending()
        if clear:
            with suppress(OSError):
                shm_owner.remove_free(self._directory)
                reap(self._directory)  # segments that killed owners had in reserve
            leave_folder(self._directory, self._path)
        os.close(self._directory)
        self._directory = -1

    # -- writing

    def _writing(self) -> Writer:
        if not self._is_writing():
            with self._lock:
                if not self._is_writing():
                    self._start_writing()
        assert self._writer is not None
        return self._writer

    def _is_writing(self) -> bool:
        writer = self._writer
        return writer is not None and writer.owner.pid == os.getpid() and self._directory >= 0

    def _new_writer(self) -> Writer:
        reap(self._fd())
        return Writer(self._fd(), self._path, self._lease_s, self._arena_bytes)

    def _start_writing(self) -> None:
        if self._writer is not None:  # we are a child of the process that made it
            self._writer.end()
        try:
            reap_neighbours(self._path)
            writer = self._writer = self._making_it(self._new_writer)
        except OSError as exc:
            raise translate(exc, f"cannot write in {self._path}", store=self.url) from exc
        self._keeper = Keeper(self._keep, min(self._lease_s / 4, shm_owner.MAX_PERIOD_S), name="fedproxy-shm")
        self._ending.detach()
        self._ending = weakref.finalize(self, writer.end)

    def _keep(self) -> None:
        writer = self._writer
        if writer is not None and self._directory >= 0:
            writer.owner.renew()
            writer.arena.trim()
            if is_our_turn(self._directory, self._lease_s / 4):
                reap(self._directory)

    # -- the folder, which goes when nothing is in it

    def _is_there(self) -> bool:
        """Whether the folder that we have open is the one that others find."""
        try:
            found = os.stat(self._where)
        except FileNotFoundError:
            return False
        ours = os.fstat(self._fd())
        return ours.st_ino == found.st_ino and ours.st_dev == found.st_dev

    def _follow(self) -> bool:
        """Open the folder that others find, if it is another one; whether it was.

        Raises:
            StoreUnavailableError: it cannot have gone by itself, because we have objects in it.
        """
        if self._is_there():
            return False
        if not self._is_writing() and not self._path.exists():
            return False
        self._reopen()
        return True

    def _reopen(self) -> None:
        if self._is_writing():  # then it cannot have gone by itself
            raise StoreUnavailableError(f"the folder {self._path} is gone", store=self.url)
        found = open_directory(self._path, store=self.url, ours_alone=True)
        os.dup2(found, self._fd(), inheritable=False)  # for all threads at once
        os.close(found)

    def _making_it(self, work: Callable[[], T]) -> T:
        """What ``work`` gives in the folder that others find, made where there is none."""
        while True:
            if not self._is_there():
                self._reopen()
            try:
                return work()
            except FileNotFoundError:
                if self._is_there():
                    raise

    def _names(self) -> list[str]:
        self._follow()
        with suppress(FileNotFoundError):
            return os.listdir(self._fd())
        return []

    def _check_folder(self) -> None:
        """A folder that is gone had nothing in it."""

    def _reading(self, key: str, read: Callable[[], T]) -> T | None:
        found = super()._reading(key, read)
        return super()._reading(key, read) if found is None and self._follow() else found

    # -- reading

    def _load(self, key: str) -> Buffer | None:
        return self._reading(key, lambda: load(self._fd(), key))

    def _open_file(self, key: str) -> KeptFile | None:
        return open_kept(self._fd(), key)

    def _lives(self, key: str) -> bool:
        head = self._head(key)
        return head is not None and head.key == key and not head.expired(time.time())

    def _head(self, name: str) -> Head | None:
        directory = self._fd()
        with suppress(InvalidKeyError):  # a link
            return self._reading(name, lambda: read_head(directory, name))
        return None

    def _pack(self, base: str) -> packs.Pack | None:
        return self._reading(PACK + base, lambda: self._open_pack(base))

    def _open_pack(self, base: str) -> packs.Pack | None:
        descriptor = os.open(PACK + base, OPEN_READ, dir_fd=self._fd())
        try:
            head = parse_head(os.pread(descriptor, HEAD_BYTES, 0))
            if head is None or head.expired(time.time()):
                return None
            return packs.Pack(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ), HEAD_BYTES)
        finally:
            os.close(descriptor)

    # -- removing

    def _unlink(self, key: str) -> bool:
        found = super()._unlink(key) or (self._follow() and super()._unlink(key))
        if found and self._is_writing():
            assert self._writer is not None
            self._writer.arena.freed(key)
        return found

    def _evict_from_pack(self, base: str, indexes: Sequence[int]) -> bool:
        return super()._evict_from_pack(base, indexes) or (self._follow() and super()._evict_from_pack(base, indexes))

    def _clear(self) -> None:
        for name in self._names():
            if not name.startswith(".") or name.startswith((PACK, TEMPORARY, waiting.PREFIX, TURN)):
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._directory)


def _expiry(ttl_s: float | None) -> float:
    return 0.0 if ttl_s is None else time.time() + ttl_s


def folder_of(namespace: str, root: str = ROOT) -> Path:
    """The folder of a namespace of this user."""
    return Path(root) / f"fedproxy-{os.getuid()}-{check_key(namespace)}"


def _default_arena_bytes(directory: int) -> int:
    space = os.fstatvfs(directory)
    return min(2 << 30, space.f_blocks * space.f_frsize // 8)


def _parse(url: str) -> tuple[StoreUrl, str]:
    parsed = StoreUrl.parse(url)
    parsed.only_options("lease_s", "arena_bytes", "root")
    namespace = parsed.path.strip("/")
    if not parsed.host or not namespace:
        raise ConfigError(f"not a shared memory store: {url!r}", hint="shm://HOST_ID/NAMESPACE")
    return parsed, namespace


def reachable(url: str) -> bool:
    """Whether the store is on this host, and its folder is there or can be made by us."""
    parsed, namespace = _parse(url)
    if parsed.host not in (host_id(), "localhost"):
        return False
    path = folder_of(namespace, parsed.options.get("root", ROOT))
    try:
        status = path.lstat()
    except OSError:
        return os.access(path.parent, os.W_OK)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def connect(url: str) -> ShmConnector:
    """``shm://HOST_ID/NAMESPACE``; ``localhost`` stands for this host."""
    parsed, namespace = _parse(url)
    if parsed.host not in (host_id(), "localhost"):
        raise StoreUnavailableError("that is another machine's memory", store=url, hint=f"this host is {host_id()}")
    own = StoreUrl("shm", host_id(), f"/{namespace}", dict(parsed.options))
    return ShmConnector(
        namespace,
        root=parsed.options.get("root", ROOT),
        lease_s=parsed.number("lease_s", DEFAULT_LEASE_S),
        arena_bytes=int(parsed.number("arena_bytes", 0)) if "arena_bytes" in parsed.options else None,
        url=own.public(),
    )
