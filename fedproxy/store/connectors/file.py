"""Objects as files in one folder that every reader mounts.

Strategy: write to a temporary name and rename, so that a reader sees all of an object or nothing; read by a private
mapping, so that a large array costs no copy and what a reader changes stays its own. A batch of small objects is one
file (``packs``). Everything goes through a descriptor of the folder, with names that were checked, and never follows a
link: nothing outside the folder is ever touched.

An object that expires has its owner's execute bit set and its time of expiry as its modification time, so that neither
a second file nor a header is needed.

``file:///DIR[?id=ID][&read=1]``: ``id`` is what the folder's marker file says, so that a folder of the same path on
another machine is not mistaken for this one; ``read=1`` reads instead of mapping, for file systems that map badly.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fedproxy.errors import ConfigError, InvalidKeyError, StoreUnavailableError
from fedproxy.store.connectors import packs, waiting
from fedproxy.store.connectors.base import Buffer, Entry, Parts, check_key, new_key
from fedproxy.store.connectors.folder import PACK, TEMPORARY, FolderConnector
from fedproxy.store.connectors.kept_files import KeptFile, KeptFiles
from fedproxy.store.connectors.posix import open_directory, read_all, translate, write_all
from fedproxy.store.urls import StoreUrl

MARKER = ".fedproxy-store"
_STALE_S = 3600.0
_MAP_FROM_BYTES = 64 * 1024
_PRIVATE = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0)
_OPEN_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FileConnector(FolderConnector):
    """One object, one file; a batch of small objects, one file."""

    in_memory = False
    _pack_origin = 0

    def __init__(self, directory: Path, *, expected_id: str | None = None, read: bool = False) -> None:
        self._path = directory
        self._directory = open_directory(directory, store=f"file://{directory}")
        self._id = self._mark(expected_id)
        self._read = read
        self._kept = KeptFiles()
        self.url = f"file://{directory}?id={self._id}" + ("&read=1" if read else "")

    # -- objects

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Write a file and rename it into place."""
        name = new_key() if key is None else check_key(key)
        self._write(name, parts, ttl_s)
        waiting.wake(self._fd(), name)
        return name

    def put_small(self, items: Sequence[bytes], *, ttl_s: float | None = None) -> list[str]:
        """One file for all."""
        base = packs.new_base()
        self._write(PACK + base, [packs.build(items)], ttl_s)
        return [f"{base}.{place}" for place in range(len(items))]

    # -- more powers

    def adopt(self, path: Path, key: str, *, ttl_s: float | None = None) -> None:
        """Make the file at ``path``, in the same file system, the object ``key``: nothing is copied.

        Raises:
            StoreUnavailableError: it cannot be moved here.
        """
        try:
            descriptor = os.open(path, _OPEN_READ)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise InvalidKeyError(f"not a plain file: {path}", store=self.url, key=key)
                _set_expiry(descriptor, ttl_s)
            finally:
                os.close(descriptor)
            os.rename(path, check_key(key), dst_dir_fd=self._fd())
        except OSError as exc:
            raise translate(exc, f"cannot move {path} here", store=self.url, key=key) from exc
        waiting.wake(self._fd(), key)

    def touch(self, key: str, ttl_s: float | None) -> bool:
        """Change when it expires; of an object that was put in a batch, the whole batch."""
        if not self.exists(key):
            return False
        self._kept.forget(key)
        place = packs.place_of(key)
        name = PACK + place[0] if place is not None and self._pack(place[0]) is not None else key
        try:
            descriptor = os.open(name, _OPEN_READ, dir_fd=self._fd())
        except FileNotFoundError:
            return False
        try:
            _set_expiry(descriptor, ttl_s)
        finally:
            os.close(descriptor)
        return True

    def entries(self) -> Iterator[Entry]:
        """Every object that has not expired."""
        now = time.time()
        for name in os.listdir(self._fd()):
            if name.startswith("."):
                if name.startswith(PACK):
                    yield from self._pack_entries(name[len(PACK) :])
                continue
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=self._fd(), follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and not _expired(status):
                    yield Entry(name, status.st_size, status.st_mtime - now if _expires(status) else None)

    def gc(self) -> int:
        """Remove what expired, and what writers that died left behind an hour ago."""
        removed = 0
        for name in os.listdir(self._fd()):
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=self._fd(), follow_symlinks=False)
                leftover = name.startswith((TEMPORARY, waiting.PREFIX)) and time.time() - status.st_mtime > _STALE_S
                if leftover or (stat.S_ISREG(status.st_mode) and _expired(status) and name != MARKER):
                    os.unlink(name, dir_fd=self._fd())
                    removed += 1
        return removed

    def close(self, *, clear: bool = False) -> None:
        """Let go of the folder; ``clear`` removes the objects in it, and the folder if nothing else is there."""
        if self._directory < 0:
            return
        self._kept.close()
        if clear:
            self._clear()
        os.close(self._directory)
        self._directory = -1

    # -- files

    def _write(self, name: str, parts: Parts, ttl_s: float | None) -> None:
        directory = self._fd()
        temporary = f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            descriptor = os.open(temporary, _OPEN_NEW, 0o600, dir_fd=directory)
        except OSError as exc:
            raise translate(exc, f"cannot write in {self._path}", store=self.url, key=name) from exc
        try:
            write_all(descriptor, parts)
            if ttl_s is not None:
                _set_expiry(descriptor, ttl_s)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException as exc:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            if isinstance(exc, OSError):
                raise translate(exc, f"cannot write in {self._path}", store=self.url, key=name) from exc
            raise
        finally:
            os.close(descriptor)

    def _load(self, key: str) -> Buffer | None:
        return self._reading(key, lambda: self._contents(key))

    def _contents(self, name: str) -> Buffer | None:
        descriptor = os.open(name, _OPEN_READ, dir_fd=self._fd())
        try:
            status = os.fstat(descriptor)
            if _expired(status) or not stat.S_ISREG(status.st_mode):
                return None
            if status.st_size < _MAP_FROM_BYTES or self._read:
                return read_all(descriptor, status.st_size, 0)
            return mmap.mmap(descriptor, status.st_size, flags=_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        finally:
            os.close(descriptor)

    def _open_file(self, key: str) -> KeptFile | None:
        descriptor = os.open(key, _OPEN_READ, dir_fd=self._fd())
        status = os.fstat(descriptor)
        lives_s = status.st_mtime - time.time() if _expires(status) else float("inf")
        file = KeptFile(descriptor, 0, status.st_size, status.st_nlink, lives_s)  # which closes it
        return file if lives_s > 0 and status.st_nlink > 0 else None

    def _lives(self, key: str) -> bool:
        try:
            status = os.stat(key, dir_fd=self._fd(), follow_symlinks=False)
        except OSError:
            self._check_folder()
            return False
        return stat.S_ISREG(status.st_mode) and not _expired(status)

    def _pack(self, base: str) -> packs.Pack | None:
        data = self._load(PACK + base)
        return None if data is None else packs.Pack(data)

    def _clear(self) -> None:
        for name in os.listdir(self._directory):
            ours = not name.startswith(".") or name.startswith((PACK, TEMPORARY, waiting.PREFIX)) or name == MARKER
            if ours:
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._directory)
        with suppress(OSError):
            self._path.rmdir()

    def _mark(self, expected_id: str | None) -> str:
        """Read the folder's id, or give it one."""
        found = read_marker(self._path)
        if found is None:
            self.url = f"file://{self._path}"
            body = json.dumps({"id": expected_id or secrets.token_hex(4)}).encode()
            temporary = f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
            try:
                descriptor = os.open(temporary, _OPEN_NEW, 0o600, dir_fd=self._directory)
                write_all(descriptor, [body])
                os.close(descriptor)
                with suppress(FileExistsError):
                    os.link(temporary, MARKER, src_dir_fd=self._directory, dst_dir_fd=self._directory)
                os.unlink(temporary, dir_fd=self._directory)
            except OSError as exc:
                raise translate(exc, f"cannot write in {self._path}", store=self.url) from exc
            found = read_marker(self._path)
        if found is None or (expected_id is not None and found != expected_id):
            raise StoreUnavailableError(f"{self._path} is another store here than where the object was put")
        return found


def _expires(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_IXUSR)


def _expired(status: os.stat_result) -> bool:
    return _expires(status) and status.st_mtime <= time.time()


def _set_expiry(descriptor: int, ttl_s: float | None) -> None:
    if ttl_s is None:
        os.fchmod(descriptor, 0o600)
    else:
        os.utime(descriptor, (time.time(), time.time() + ttl_s))
        os.fchmod(descriptor, 0o700)


def read_marker(directory: Path) -> str | None:
    """The id in a store folder's marker file, or None."""
    try:
        found = json.loads((directory / MARKER).read_bytes())["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def reachable(url: str) -> bool:
    """Whether the folder is here and is the one that the URL means."""
    parsed = StoreUrl.parse(url)
    found = read_marker(Path(parsed.path))
    return found is not None and parsed.options.get("id", found) == found


def connect(url: str) -> FileConnector:
    """``file:///DIR[?id=ID][&read=1]``."""
    parsed = StoreUrl.parse(url)
    parsed.only_options("id", "read")
    if parsed.authority or not parsed.path.startswith("/") or "\0" in parsed.path:
        raise ConfigError(f"not an absolute folder: {url!r}", hint="file:///absolute/folder")
    options = parsed.options
    return FileConnector(Path(parsed.path), expected_id=options.get("id"), read=options.get("read") == "1")
