"""The copies that a site has staged: files of one store, the least recently used go when room is needed.

Strategy: a copy lies under its object's name (`object_id`) in a file store that every worker of the site maps; what is arriving lies beside it in
the same file system, so that finishing is one rename. Use is noted as the file's time of access, so that it survives a restart. What a task that
waits or runs needs is pinned. What was pushed here and lies nowhere else has another kind of name and is never removed for room; its time to
live ends it.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from fedproxy.config.home import private_dir
from fedproxy.config.lifetimes import TASK_DATA_TTL_S
from fedproxy.errors import StagingFullError
from fedproxy.serialize.sign import stored_digest
from fedproxy.store.connectors.base import Buffer
from fedproxy.store.connectors.file import FileConnector
from fedproxy.transfer.objects import Wanted
from fedproxy.transfer.partial import Partial

_COPY = re.compile(r"[0-9a-f]{32}")
_LOOK_AGAIN_S = 30.0
_STALE_S = 7 * 24 * 3600.0


class Space:
    """One site's (or client's) copies, in ``folder``. Thread-safe; several processes may share it."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.arriving = private_dir(folder / "arriving")
        self._files = private_dir(folder / "replicas")
        self.store = FileConnector(self._files)
        self._pinned: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._at_most: int | None = None
        """Bytes in use, counted up since the files were looked at: they need not be looked at for each object."""
        self._look_again = 0.0
        self._forget_stale()

    @property
    def url(self) -> str:
        """The store's URL."""
        return self.store.url

    def find(self, wanted: Wanted) -> Buffer | None:
        """The copy of the object if there is one, and it is of the same put (by the digest)."""
        data = self.store.get(wanted.id)
        if data is None:
            return None
        if wanted.digest and stored_digest(data) != wanted.digest:
            return None
        self._used(wanted.id)
        return data

    def has(self, wanted: Wanted) -> bool:
        """Whether `find` would find it."""
        return self.find(wanted) is not None

    def _used(self, name: str) -> None:
        path = self._files / name
        with suppress(OSError):
            status = path.stat()
            os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))

    def pin(self, name: str) -> None:
        """Keep it until `unpin` was called as often."""
        with self._lock:
            self._pinned[name] += 1

    def unpin(self, name: str) -> None:
        """See `pin`."""
        with self._lock:
            self._pinned[name] -= 1
            if self._pinned[name] <= 0:
                del self._pinned[name]

    def open_partial(self, name: str, size: int) -> Partial:
        """A file for an object of that size, with what an earlier attempt left in it. Makes room.

        Raises:
            StagingFullError: the limit or the disk does not allow it.
        """
        self.make_room(size)
        return Partial(self.arriving, name, size)

    def make_room(self, size: int) -> list[str]:
        """Remove copies that nobody needs now, the least recently used first, until ``size`` more bytes are within the limit. Returns their names.

        Raises:
            StagingFullError: what is pinned or lies nowhere else leaves too little room.
        """
        with self._lock:
            if self._at_most is not None and self._at_most + size <= self.limit_bytes and time.monotonic() < self._look_again:
                self._at_most += size
                return []
            entries = sorted(self._entries(), key=lambda entry: entry[1].st_atime_ns)
            used = sum(status.st_size for _, status in entries)
            gone = []
            for name, status in entries:
                if used + size <= self.limit_bytes:
                    break
                if _COPY.fullmatch(name) and name not in self._pinned:
                    self.store.evict(name)
                    gone.append(name)
                    used -= status.st_size
            if used + size > self.limit_bytes:
                raise StagingFullError(
                    f"no room for {size:,} bytes: {used:,} of {self.limit_bytes:,} are in use", hint="raise transfer.space_bytes, or wait for running tasks")
            self._at_most, self._look_again = used + size, time.monotonic() + _LOOK_AGAIN_S
            return gone

    def used_bytes(self) -> int:
        """Bytes that copies take."""
        return sum(status.st_size for _, status in self._entries())

    def adopt(self, partial: Partial, name: str) -> None:
        """What has arrived becomes the copy ``name``."""
        partial.close()
        self.store.adopt(partial.path, name, ttl_s=TASK_DATA_TTL_S)
        partial.remove()

    def _entries(self) -> list[tuple[str, os.stat_result]]:
        found = []
        for entry in os.scandir(self._files):
            with suppress(OSError):
                if not entry.name.startswith("."):
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
        return found

    def _forget_stale(self) -> None:
        """What began to arrive long ago, and was never finished."""
        for entry in os.scandir(self.arriving):
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime + _STALE_S < time.time():
                    os.unlink(entry.path)
        self.store.gc()

    def close(self) -> None:
        """Let go of the folder; idempotent."""
        self.store.close()
