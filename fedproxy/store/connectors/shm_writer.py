"""Writing objects to shared memory: large ones into warm pages, small ones into files of their own or packs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fedproxy.store.connectors import packs
from fedproxy.store.connectors.base import Parts, new_key
from fedproxy.store.connectors.folder import PACK, TEMPORARY
from fedproxy.store.connectors.posix import write_all
from fedproxy.store.connectors.shm_arena import Arena
from fedproxy.store.connectors.shm_layout import HEAD_BYTES, MAP_FROM_BYTES, pack_head
from fedproxy.store.connectors.shm_owner import Owner
from fedproxy.store.connectors.shm_reaper import leave_folder

_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Writer:
    """What a process needs to put: made at its first put, let go at its end."""

    def __init__(self, directory: int, path: Path, lease_s: float, arena_bytes: int) -> None:
        self.owner = Owner(directory, lease_s)
        self.arena = Arena(directory, self.owner.token, arena_bytes)
        self._directory, self._path = directory, path
        self._token = self.owner.token.encode()

    def put(self, key: str, parts: Parts, nbytes: int, expires: float, *, replace: bool) -> None:
        """Write one object.

        Raises:
            OSError: no room, even without what the arena holds in reserve.
        """
        if nbytes >= MAP_FROM_BYTES:
            self._with_room(lambda: self._put_large(key, parts, nbytes, expires, replace))
        else:
            head = pack_head(nbytes, expires, False, self._token, key)
            self._with_room(lambda: self._write_file(key, [b"".join((head, *parts))], replace))

    def put_pack(self, items: Sequence[bytes], expires: float) -> str:
        """Write many small objects into one file; its base name.

        Raises:
            OSError: no room.
        """
        base = packs.new_base()
        body = packs.build(items, HEAD_BYTES)
        head = pack_head(len(body), expires, False, self._token, base)
        self._with_room(lambda: self._write_file(PACK + base, [head, body], False))
        return base

    def end(self) -> None:
        """Give back the arena and let the lease run, if anything is left."""
        if os.getpid() == self.owner.pid:
            self.arena.close()
            self.owner.leave()
            leave_folder(self._directory, self._path)
        else:
            self.arena.forget()
            self.owner.leave()

    def _put_large(self, key: str, parts: Parts, nbytes: int, expires: float, replace: bool) -> None:
        head = pack_head(nbytes, expires, True, self._token, key)
        segment = self.arena.take(nbytes)
        if segment is not None:
            segment.write(head, parts)
        else:
            segment = self.arena.create(nbytes, head, parts)
        if segment is None:
            self._write_file(key, [head, *parts], replace)
        else:
            self.arena.publish(segment, key, replace=replace)

    def _write_file(self, name: str, parts: Parts, replace: bool) -> None:
        """A random name is nobody's to read yet, so that only a replacement needs a temporary one."""
        first = f"{TEMPORARY}{os.getpid()}-{new_key()}" if replace else name
        descriptor = os.open(first, _OPEN_NEW, 0o600, dir_fd=self._directory)
        try:
            write_all(descriptor, parts)
            if replace:
                os.rename(first, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(first, dir_fd=self._directory)
            raise
        finally:
            os.close(descriptor)

    def _with_room(self, write: Callable[[], None]) -> None:
        """Try once more when the memory is full: with the pages that the arena holds in reserve."""
        try:
            write()
        except OSError:
            self.arena.trim(everything=True)
            write()
