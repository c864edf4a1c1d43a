"""Folders for what a process needs only while it lives: sockets, logs of workers.

Strategy: whoever has made one holds it locked, which the kernel ends with the process, however that ends. Whoever makes the next one of that kind
removes those that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path


class Scratch:
    """A folder that only this user may enter, in the temporary folder unless told otherwise."""

    def __init__(self, kind: str, base: str | None = None) -> None:
        base = base or tempfile.gettempdir()
        prefix = f"fedproxy-{kind}-"
        for path in Path(base).glob(f"{prefix}*"):
            _sweep(path)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
            with suppress(FileNotFoundError):  # somebody took it for a dead one's before it was locked
                self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                if self.path.exists():
                    break
                os.close(self._lock)

    def remove(self) -> None:
        """Idempotent."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def _sweep(path: Path) -> None:
    with suppress(OSError):
        if path.is_symlink() or path.stat().st_uid != os.getuid():
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)
