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
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PREFIX = ".own-"
MAX_PERIOD_S = 15.0
"""How long an owner lets pass before it says again that it lives."""


class Owner:
    """This process as an owner of objects: a locked file. Made when the first object is put."""

    def __init__(self, directory: int, lease_s: float) -> None:
        self.pid = os.getpid()
        self.token = secrets.token_hex(8)
        self._directory = directory
        self._descriptor = self._make(lease_s)
        while not os.fstat(self._descriptor).st_nlink:  # somebody took it for a dead owner's before it was locked
            os.close(self._descriptor)
            self._descriptor = self._make(lease_s)

    def _make(self, lease_s: float) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(PREFIX + self.token, flags, 0o600, dir_fd=self._directory)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, f"{lease_s:g}".encode())
        return descriptor

    def renew(self) -> None:
        """Say that we live."""
        os.utime(self._descriptor)

    def leave(self) -> None:
        """Let go of the lock: from now on the lease runs."""
        if self._descriptor < 0:
            return
        if os.getpid() == self.pid:
            with suppress(OSError):
                self.renew()
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # which a child of ours would hold on to
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
    with _free(directory, name) as descriptor:
        return descriptor is not None and _lease_is_over(descriptor)


def _lease_is_over(descriptor: int) -> bool:
    try:
        lease_s = float(os.pread(descriptor, 32, 0) or b"0")
    except ValueError:
        return False
    return os.fstat(descriptor).st_mtime + lease_s <= time.time()


@contextmanager
def _free(directory: int, name: str) -> Iterator[int | None]:
    """An owner's file, locked by us for the moment; None while the owner lives, or where there is none."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove_owner(directory: int, token: str) -> None:
    """Forget a dead owner; after its objects, so that nobody forgets those."""
    with _free(directory, PREFIX + token) as descriptor, suppress(FileNotFoundError):
        if descriptor is not None and _lease_is_over(descriptor):
            os.unlink(PREFIX + token, dir_fd=directory)


def remove_free(directory: int) -> None:
    """Forget all owners that do not live, whatever their lease; when there are no objects."""
    for name in os.listdir(directory):
        if name.startswith(PREFIX):
            with _free(directory, name) as descriptor, suppress(FileNotFoundError):
                if descriptor is not None:
                    os.unlink(name, dir_fd=directory)
