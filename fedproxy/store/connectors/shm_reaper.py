"""Removing what nobody will remove: expired objects, and those of dead owners whose lease is over."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from fedproxy.store.connectors import shm_owner, waiting
from fedproxy.store.connectors.folder import PACK, TEMPORARY
from fedproxy.store.connectors.shm_layout import SEGMENT, TURN
from fedproxy.store.connectors.shm_reading import read_head

_STALE_S = 600.0


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


def is_our_turn(directory: int, period_s: float) -> bool:
    """Whether nobody looked for ``period_s``: of many processes one looks, not all."""
    descriptor = os.open(TURN, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh = os.fstat(descriptor).st_size == 0
        if not fresh and time.time() - os.fstat(descriptor).st_mtime < period_s / 2:
            return False
        os.pwrite(descriptor, b"1", 0)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _is_garbage(directory: int, name: str, alive: set[str], now: float) -> bool:
    if name.startswith(SEGMENT):
        return name[len(SEGMENT) :].partition("-")[0] not in alive
    if name.startswith((TEMPORARY, waiting.PREFIX)):
        return now - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime > _STALE_S
    if name.startswith(".") and not name.startswith(PACK):
        return False
    head = read_head(directory, name)
    return head is not None and (head.expired(now) or (head.expires == 0 and head.owner not in alive))


def reap_neighbours(folder: Path) -> None:
    """The same for this user's other namespaces, whose processes may all be gone; empty folders go."""
    for other in folder.parent.glob(f"{'-'.join(folder.name.split('-')[:2])}-*"):
        with suppress(OSError):
            status = other.lstat()
            if other == folder or status.st_uid != os.getuid() or other.is_symlink():
                continue
            directory = os.open(other, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                reap(directory)
                leave_folder(directory, other)
            finally:
                os.close(directory)


def leave_folder(directory: int, path: Path) -> None:
    """Remove the folder if no object and no living owner is in it. Who has it open and puts something later makes it again."""
    with suppress(OSError):
        names = os.listdir(directory)
        if all(name.startswith((shm_owner.PREFIX, TURN)) for name in names):
            shm_owner.remove_free(directory)
            if not any(name.startswith(shm_owner.PREFIX) for name in os.listdir(directory)):
                with suppress(FileNotFoundError):
                    os.unlink(TURN, dir_fd=directory)
                path.rmdir()
