"""Who put what is in shared memory, and what becomes of it when its owner dies.

Strategy: each process that puts has a file of its own, which it holds locked and whose time it renews. The kernel drops
the lock when the process dies, however it dies; whoever next looks and finds the lock free and the lease over removes the
dead owner's objects. Every process that uses a store looks now and then.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from contextlib import suppress

PREFIX = ".own-"
MAX_PERIOD_S = 15.0
"""How long an owner lets pass before it says again that it lives."""


class Owner:
    """This process as an owner of objects: a locked file. Made when the first object is put."""

    def __init__(self, directory: int, lease_s: float) -> None:
        self.pid = os.getpid()
        self.token = secrets.token_hex(8)
        self._directory = directory
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(PREFIX + self.token, flags, 0o600, dir_fd=directory)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        os.write(self._descriptor, f"{lease_s:g}".encode())

    def renew(self) -> None:
        """Say that we live."""
        os.utime(self._descriptor)

    def leave(self, *, empty: bool) -> None:
        """Let go of the lock; ``empty``: nothing of ours is left, so the file can go too."""
        if self._descriptor < 0:
            return
        if os.getpid() == self.pid:
            if empty:
                with suppress(OSError):
                    os.unlink(PREFIX + self.token, dir_fd=self._directory)
            else:
                with suppress(OSError):
                    self.renew()
        os.close(self._descriptor)
        self._descriptor = -1


def survey(directory: int) -> tuple[set[str], set[str]]:
    """Tokens of the owners that live or whose lease runs, and of those that are dead and whose lease is over."""
    alive: set[str] = set()
    dead: set[str] = set()
    for name in os.listdir(directory):
        if name.startswith(PREFIX):
            (dead if _is_dead(directory, name) else alive).add(name[len(PREFIX) :])
    return alive, dead


def _is_dead(directory: int, name: str) -> bool:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        lease_s = float(os.read(descriptor, 32) or b"0")
        return os.fstat(descriptor).st_mtime + lease_s <= time.time()
    except (BlockingIOError, ValueError):
        return False
    finally:
        os.close(descriptor)


def remove_owner(directory: int, token: str) -> None:
    """Forget a dead owner; after its objects, so that nobody forgets those."""
    with suppress(FileNotFoundError):
        os.unlink(PREFIX + token, dir_fd=directory)


def remove_free(directory: int) -> None:
    """Forget all owners that do not live; after all objects were removed."""
    for name in os.listdir(directory):
        if name.startswith(PREFIX) and not _is_locked(directory, name):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)


def _is_locked(directory: int, name: str) -> bool:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
