"""Which process runs a service or an agent: a lock that the kernel drops when it ends, however it ends.

A pid in a file may be stale and may be somebody else's by now; the holder of this lock is neither.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from attrs import define, field

from fedproxy.config.home import PRIVATE_FILE

_FLOCK = "@hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid


@define
class ProcessLock:
    """A pid file, locked by the process it names (POSIX record lock: not inherited by children)."""

    path: Path
    _descriptor: int | None = field(default=None, init=False)

    def acquire(self) -> bool:
        """Hold the lock until this process ends; False where another process holds it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return True

    def holder(self) -> int | None:
        """The pid of the other process that holds the lock, or None."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
            if kind == fcntl.F_UNLCK:
                return None
            return int(pid) if pid > 0 else _written_pid(descriptor)
        finally:
            os.close(descriptor)


def _written_pid(descriptor: int) -> int | None:
    """The holder lives in another pid namespace: what it wrote is the best name there is."""
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else None
