"""Objects in this machine's memory, for all processes of this user.

``shm://HOST_ID/NAMESPACE[?lease_s=600][&arena_bytes=N][&root=/dev/shm]``

Strategy: an object is a file in a private folder of a memory file system. Large ones are mapped by their readers, never
read, privately, so that what a reader changes stays its own; their writer keeps the files of evicted objects and writes
the next ones into pages that are there already (``shm_arena``). Small ones of a batch share one file (``packs``).
Objects live until they are evicted, until their ``ttl`` is over, or until a lease after their owner's death
(``shm_owner``).
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from fedproxy.config.home import host_id
from fedproxy.errors import ConfigError, StoreClosedError, StoreUnavailableError
from fedproxy.store.connectors import packs, shm_arena, shm_owner, waiting
from fedproxy.store.connectors.base import Buffer, Entry, Parts, check_key, new_key, parts_nbytes
from fedproxy.store.connectors.posix import open_directory, read_all, translate, write_all
from fedproxy.store.connectors.shm_arena import Arena
from fedproxy.store.connectors.shm_layout import EXPIRES, EXPIRES_OFFSET, HEAD_BYTES, Head, pack_head, parse_head
from fedproxy.store.connectors.shm_owner import Keeper, Owner
from fedproxy.store.urls import StoreUrl

ROOT = "/dev/shm"  # noqa: S108  the memory file system; the folder in it is private
DEFAULT_LEASE_S = 600.0
_PACK = ".pack-"
_FIRST_READ = 4096
_RETRIES = 8
_PRIVATE = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
_OPEN_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Writer:
    """What a process needs to put: made at its first put, let go at its end."""

    def __init__(self, directory: int, lease_s: float, arena_bytes: int) -> None:
        self.owner = Owner(directory, lease_s)
        self.token = self.owner.token.encode()
        self.arena = Arena(directory, self.owner.token, arena_bytes)

    def end(self) -> None:
        """Give back the arena and let the lease run."""
        if os.getpid() == self.owner.pid:
            self.arena.close()
        else:
            self.arena.forget()
        self.owner.leave(empty=False)


class ShmConnector:
    """Shared memory of one host, one user, one namespace."""

    in_memory = True

    def __init__(
        self, namespace: str, *, root: str = ROOT, lease_s: float = DEFAULT_LEASE_S, arena_bytes: int | None = None,
        url: str = "",
    ) -> None:
        self.url = url or f"shm://{host_id()}/{check_key(namespace)}"
        self._path = folder_of(namespace, root)
        self._directory = open_directory(self._path, store=self.url, ours_alone=True)
        self._lease_s = lease_s
        self._arena_bytes = _default_arena_bytes(self._directory) if arena_bytes is None else arena_bytes
        self._writer: _Writer | None = None
        self._keeper: Keeper | None = None
        self._lock = threading.Lock()
        self._ending: weakref.finalize[[], ShmConnector] | None = None

    # -- objects

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Write into warm pages where there are some, else into a new file."""
        name = new_key() if key is None else check_key(key)
        writer = self._writing()
        nbytes = parts_nbytes(parts)
        expires = 0.0 if ttl_s is None else time.time() + ttl_s
        if nbytes >= shm_arena.MIN_BYTES:
            self._with_room(lambda: self._put_large(writer, name, parts, nbytes, expires, key is not None), name)
        else:
            head = pack_head(nbytes, expires, False, writer.token, name)
            self._with_room(lambda: self._write_file(name, [head, *parts], replace=key is not None), name)
        if key is not None:
            waiting.wake(self._directory, name)
        return name

    def get(self, key: str) -> Buffer | None:
        """Map the object, or read it where it is small."""
        place = packs.place_of(check_key(key))
        if place is not None:
            pack = self._pack(place[0])
            if pack is not None:
                return pack.get(place[1])
        return self._load(key)

    def exists(self, key: str) -> bool:
        """Whether it is there and has not expired."""
        place = packs.place_of(check_key(key))
        if place is not None:
            pack = self._pack(place[0])
            if pack is not None:
                return pack.lives(place[1])
        head = self._head(key)
        return head is not None and head.key == key and not head.expired(time.time())

    def evict(self, key: str) -> None:
        """Remove its name; readers keep what they have mapped, and its pages are used again when they are done."""
        self.evict_batch([key])

    # -- batches

    def put_batch(
        self, items: Sequence[Parts], *, keys: Sequence[str] | None = None, ttl_s: float | None = None
    ) -> list[str]:
        """Small objects without given keys share a file; others get one each."""
        if keys is not None:
            return [self.put(parts, key=key, ttl_s=ttl_s) for parts, key in zip(items, keys, strict=True)]
        small, data = packs.split(items)
        names = [""] * len(items)
        if small:
            for name, position in zip(self.put_small(data, ttl_s=ttl_s), small, strict=True):
                names[position] = name
        return [name or self.put(parts, ttl_s=ttl_s) for name, parts in zip(names, items, strict=True)]

    def put_small(self, items: Sequence[bytes], *, ttl_s: float | None = None) -> list[str]:
        """One file for all."""
        base = self._put_pack(items, ttl_s)
        return [f"{base}.{place}" for place in range(len(items))]

    def get_batch(self, keys: Sequence[str]) -> list[Buffer | None]:
        """Each pack is mapped once."""
        found: list[Buffer | None] = [None] * len(keys)
        for base, (positions, indexes) in packs.by_pack(keys).items():
            pack = None if base is None else self._pack(base)
            if pack is None:
                for position in positions:
                    found[position] = self._load(keys[position])
                continue
            items = pack.get_many(indexes)
            if len(items) == len(keys):
                return cast("list[Buffer | None]", items)
            for position, data in zip(positions, items, strict=True):
                found[position] = data
        return found

    def exists_batch(self, keys: Sequence[str]) -> list[bool]:
        """``exists`` for each."""
        return [self.exists(key) for key in keys]

    def evict_batch(self, keys: Sequence[str]) -> None:
        """Remove names; of a pack, mark the objects and remove it when none lives."""
        for base, (positions, indexes) in packs.by_pack(keys).items():
            if base is None or not self._evict_from_pack(base, indexes):
                for position in positions:
                    self._unlink(check_key(keys[position]))

    # -- more powers

    def get_range(self, key: str, start: int, length: int) -> Buffer | None:
        """Part of an object."""
        data = self.get(key)
        return None if data is None else memoryview(data)[start : start + length]

    def touch(self, key: str, ttl_s: float | None) -> bool:
        """Change when it expires; of an object that was put in a batch, the whole batch."""
        if not self.exists(key):
            return False
        place = packs.place_of(key)
        for name in [key] if place is None else [_PACK + place[0], key]:
            with suppress(FileNotFoundError):
                descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd())
                with _closing(descriptor):
                    expires = 0.0 if ttl_s is None else time.time() + ttl_s
                    os.pwrite(descriptor, EXPIRES.pack(expires), EXPIRES_OFFSET)
                return True
        return False

    def wait(self, key: str, timeout_s: float | None) -> bool:
        """Sleep until somebody puts it."""
        check_key(key)
        return waiting.wait_for(self._fd(), key, lambda: self.exists(key), timeout_s)

    def entries(self) -> Iterator[Entry]:
        """Every object that has not expired."""
        now = time.time()
        for name in os.listdir(self._fd()):
            if name.startswith("."):
                if name.startswith(_PACK):
                    yield from self._pack_entries(name[len(_PACK) :])
                continue
            head = self._head(name)
            if head is not None and head.key == name and not head.expired(now):
                yield Entry(name, head.size, head.expires - now if head.expires else None)

    def gc(self) -> int:
        """Remove what expired and what dead owners left when their lease was over."""
        return reap(self._fd())

    def close(self, *, clear: bool = False) -> None:
        """Let go; the objects stay for ``lease_s``. ``clear`` removes all objects of this namespace."""
        if self._directory < 0:
            return
        if self._keeper is not None:
            self._keeper.stop()
        if clear:
            self._clear()
        if self._ending is not None:
            self._ending()
        if clear:
            with suppress(OSError):
                shm_owner.remove_free(self._directory)
                reap(self._directory)  # segments that killed owners had in reserve
                self._path.rmdir()
        os.close(self._directory)
        self._directory = -1

    # -- writing

    def _writing(self) -> _Writer:
        writer = self._writer
        if writer is not None and writer.owner.pid == os.getpid() and self._directory >= 0:
            return writer
        with self._lock:
            if self._writer is None or self._writer.owner.pid != os.getpid():
                self._start_writing()
            assert self._writer is not None
            return self._writer

    def _start_writing(self) -> None:
        directory = self._fd()
        if self._writer is not None:  # we are a child of the process that made it
            self._writer.end()
        try:
            reap(directory)
            writer = self._writer = _Writer(directory, self._lease_s, self._arena_bytes)
        except OSError as exc:
            raise translate(exc, f"cannot write in {self._path}", store=self.url) from exc
        self._keeper = Keeper(self._keep, self._lease_s / 4)
        self._ending = weakref.finalize(self, writer.end)

    def _keep(self) -> None:
        writer = self._writer
        if writer is not None and self._directory >= 0:
            writer.owner.renew()
            writer.arena.trim()
            reap(self._directory)

    def _put_large(
        self, writer: _Writer, key: str, parts: Parts, nbytes: int, expires: float, replace: bool
    ) -> None:
        head = pack_head(nbytes, expires, True, writer.token, key)
        arena = writer.arena
        segment = arena.take(nbytes)
        if segment is not None:
            segment.write(head, parts)
        else:
            segment = arena.create(nbytes, head, parts)
        if segment is None:
            self._write_file(key, [head, *parts], replace=replace)
        else:
            arena.publish(segment, key, replace=replace)

    def _write_file(self, name: str, parts: Parts, *, replace: bool) -> None:
        """A random name is nobody's to read yet, so that only a replacement needs a temporary one."""
        directory = self._fd()
        first = f".tmp-{os.getpid()}-{new_key()}" if replace else name
        descriptor = os.open(first, _OPEN_NEW, 0o600, dir_fd=directory)
        try:
            write_all(descriptor, [b"".join(parts)] if len(parts) < 8 and _is_small(parts) else parts)
            if replace:
                os.rename(first, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(first, dir_fd=directory)
            raise
        finally:
            os.close(descriptor)

    def _put_pack(self, data: Sequence[bytes], ttl_s: float | None) -> str:
        writer = self._writing()
        base = packs.new_base()
        body = packs.build(data, HEAD_BYTES)
        expires = 0.0 if ttl_s is None else time.time() + ttl_s
        head = pack_head(len(body), expires, False, writer.token, base)
        self._with_room(lambda: self._write_file(_PACK + base, [head, body], replace=False), base)
        return base

    def _with_room(self, write: Callable[[], None], key: str) -> None:
        """Try once more when the memory is full: with the pages that the arena holds in reserve."""
        try:
            try:
                write()
            except OSError:
                self._writing().arena.trim(everything=True)
                write()
        except OSError as exc:
            raise translate(exc, f"cannot write in {self._path}", store=self.url, key=key) from exc

    # -- reading

    def _load(self, key: str) -> Buffer | None:
        for _ in range(_RETRIES):
            try:
                descriptor = os.open(key, _OPEN_READ, dir_fd=self._fd())
            except FileNotFoundError:
                self._check_folder()
                return None
            except OSError as exc:
                raise translate(exc, f"cannot read in {self._path}", store=self.url, key=key) from exc
            with _closing(descriptor):
                start = os.pread(descriptor, _FIRST_READ, 0)
                head = parse_head(start)
                if head is not None and head.recycled:
                    head = _locked_head(descriptor)
                    if head is None or head.key != key:
                        continue  # it was recycled as we opened it
                if head is None:
                    return read_all(descriptor, os.fstat(descriptor).st_size, 0)  # not ours: the reader will say so
                if head.expired(time.time()):
                    return None
                return _contents(descriptor, head.size, start)
        return None

    def _head(self, name: str) -> Head | None:
        try:
            descriptor = os.open(name, _OPEN_READ, dir_fd=self._fd())
        except OSError:
            self._check_folder()
            return None
        with _closing(descriptor):
            return parse_head(os.pread(descriptor, HEAD_BYTES, 0))

    def _check_folder(self) -> None:
        if not self._path.is_dir():
            raise StoreUnavailableError(f"the folder {self._path} is gone", store=self.url)

    def _pack(self, base: str) -> packs.Pack | None:
        try:
            descriptor = os.open(_PACK + base, _OPEN_READ, dir_fd=self._fd())
        except FileNotFoundError:
            return None
        with _closing(descriptor):
            head = parse_head(os.pread(descriptor, HEAD_BYTES, 0))
            if head is None or head.expired(time.time()):
                return None
            return packs.Pack(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ), HEAD_BYTES)

    def _pack_entries(self, base: str) -> Iterator[Entry]:
        pack = self._pack(base)
        if pack is not None:
            yield from (Entry(f"{base}.{index}", size) for index, size in pack.sizes())

    # -- removing

    def _unlink(self, key: str) -> None:
        try:
            os.unlink(key, dir_fd=self._fd())
        except FileNotFoundError:
            self._check_folder()
            return
        except OSError as exc:
            raise translate(exc, f"cannot remove in {self._path}", store=self.url, key=key) from exc
        writer = self._writer
        if writer is not None and writer.owner.pid == os.getpid():
            writer.arena.freed(key)

    def _evict_from_pack(self, base: str, indexes: Sequence[int]) -> bool:
        try:
            descriptor = os.open(_PACK + base, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd())
        except FileNotFoundError:
            return False
        with _closing(descriptor):
            if packs.evict_indexes(descriptor, os.fstat(descriptor).st_size, indexes, HEAD_BYTES):
                with suppress(FileNotFoundError):
                    os.unlink(_PACK + base, dir_fd=self._fd())
        return True

    def _clear(self) -> None:
        for name in os.listdir(self._directory):
            if not name.startswith(".") or name.startswith((_PACK, ".tmp-", waiting.PREFIX)):
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._directory)

    def _fd(self) -> int:
        if self._directory < 0:
            raise StoreClosedError("the store was closed", store=self.url, hint="make a new one with Store.from_url")
        return self._directory


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def _is_small(parts: Parts) -> bool:
    return sum(len(part) for part in parts) <= shm_arena.MIN_BYTES


def _locked_head(descriptor: int) -> Head | None:
    """The head, with a shared lock that lasts as long as the file or a mapping of it is open."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return parse_head(os.pread(descriptor, HEAD_BYTES, 0))


def _contents(descriptor: int, size: int, start: bytes) -> Buffer:
    if size <= len(start) - HEAD_BYTES:
        return start[HEAD_BYTES : HEAD_BYTES + size]
    if size < shm_arena.MIN_BYTES or os.fstat(descriptor).st_size < HEAD_BYTES + size:
        return read_all(descriptor, size, HEAD_BYTES)
    mapping = mmap.mmap(descriptor, HEAD_BYTES + size, flags=_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return memoryview(mapping)[HEAD_BYTES:]


def reap(directory: int) -> int:
    """Remove what expired and what dead owners left when their lease was over; how many files went."""
    names = os.listdir(directory)
    alive, dead = shm_owner.survey(directory)  # after the listing: an owner is there before its objects
    now = time.time()
    removed = 0
    for name in names:
        with suppress(OSError):
            if _is_garbage(directory, name, alive, now):
                os.unlink(name, dir_fd=directory)
                removed += 1
    for token in dead:
        shm_owner.remove_owner(directory, token)
    return removed


def _is_garbage(directory: int, name: str, alive: set[str], now: float) -> bool:
    if name.startswith(shm_arena.PREFIX):
        return name[len(shm_arena.PREFIX) :].partition("-")[0] not in alive
    if name.startswith((".tmp-", waiting.PREFIX)):
        return now - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime > DEFAULT_LEASE_S
    if name.startswith(".") and not name.startswith(_PACK):
        return False
    descriptor = os.open(name, _OPEN_READ, dir_fd=directory)
    with _closing(descriptor):
        head = parse_head(os.pread(descriptor, HEAD_BYTES, 0))
    return head is not None and (head.expired(now) or (head.expires == 0 and head.owner not in alive))


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
