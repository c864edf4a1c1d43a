"""Files that parts are read of, kept open for a moment.

Strategy: each reducer of a shuffle wants a little of every block, and the next one wants the little beside it; opening a file costs three
times what reading a little of it does. So a file stays open for a moment after it was opened. Before each reading it is seen to have as many
names as it had: one that was evicted or replaced has fewer. Whoever reads holds the kept file itself, which closes when the last holder lets
go: a thread that forgets it never closes what another one reads.
"""

from __future__ import annotations

import os
import resource
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress

from fedproxy.store.connectors.base import Buffer, Span
from fedproxy.store.connectors.keeper import Keeper
from fedproxy.store.connectors.posix import read_part

KEEP_S = 0.25
"""Reducers that are small enough for opening to matter are done many times within it; and a writer of shared memory waits no longer than twice that
until it can use the pages of an object again that was evicted."""
_MOST = 1024


class KeptFile:
    """One object's file, open."""

    __slots__ = ("descriptor", "links", "size", "start", "until")

    def __init__(self, descriptor: int, start: int, size: int, links: int, lives_s: float) -> None:
        self.descriptor = descriptor
        """Ours from now on."""
        self.start, self.size, self.links = start, size, links
        self.until = time.monotonic() + min(KEEP_S, lives_s)

    def read(self, start: int, length: int) -> Buffer:
        """Part of the object; less where it ends."""
        left = self.size - start
        return read_part(self.descriptor, length if length <= left else max(0, left), self.start + start)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.descriptor)


class KeptFiles:
    """Those of one store."""

    def __init__(self) -> None:
        self._files: dict[str, KeptFile] = {}
        self._lock = threading.Lock()
        self._keeper: Keeper | None = None
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(_MOST, soft // 4) if soft > 0 else _MOST
        _everywhere.add(self)

    def parts(self, spans: Sequence[Span], open_file: Callable[[str], KeptFile | None]) -> list[Buffer | None]:
        """The parts, copied; None where there is no object.

        Args:
            open_file: opens the file of a key; None where there is no such object.

        Raises:
            OSError: a file cannot be opened or read.
        """
        now, kept = time.monotonic(), self._files.get
        found: list[Buffer | None] = []
        for key, start, length in spans:
            file = kept(key)
            if file is None or file.until < now or os.fstat(file.descriptor).st_nlink != file.links:
                file = self._opened(key, open_file)
            found.append(None if file is None else file.read(start, length))
        return found

    def forget(self, key: str) -> None:
        """Do not keep the file of ``key``: it is about to be removed."""
        if key in self._files:
            with self._lock:
                self._files.pop(key, None)

    def close(self) -> None:
        """Keep none; idempotent."""
        with self._lock:
            self._files.clear()
            if self._keeper is not None:
                self._keeper.stop()
                self._keeper = None

    def _opened(self, key: str, open_file: Callable[[str], KeptFile | None]) -> KeptFile | None:
        self.forget(key)
        file = open_file(key)
        if file is not None and len(self._files) < self._most:
            with self._lock:
                self._files[key] = file
                if self._keeper is None:
                    self._keeper = Keeper(self._sweep, KEEP_S, name="fedproxy-kept-files")
        return file

    def _sweep(self) -> None:
        """Close what was kept long enough; with nothing left, end."""
        now = time.monotonic()
        with self._lock:
            for key in [key for key, file in self._files.items() if file.until < now]:
                del self._files[key]
            if not self._files and self._keeper is not None:
                self._keeper.stop()
                self._keeper = None

    def after_fork(self) -> None:
        """In a child: the files are the parent's, and its thread is not here."""
        self._lock, self._keeper = threading.Lock(), None
        self._files.clear()


_everywhere: weakref.WeakSet[KeptFiles] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for files in list(_everywhere):
        files.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
