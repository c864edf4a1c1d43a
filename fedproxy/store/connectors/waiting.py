"""Waiting for a key on a file system, by push.

Strategy: a waiter makes a named pipe beside the objects and sleeps on it; who puts the key opens that pipe for writing,
which wakes all its waiters and costs a putter one failing open where nobody waits. On a shared file system the writer
may be on another machine, so a waiter also looks by itself now and then.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from contextlib import suppress

_LOOK_EVERY_S = 0.05
PREFIX = ".wait-"


def wake(directory: int, key: str) -> None:
    """Wake whoever waits for ``key``."""
    try:
        descriptor = os.open(PREFIX + key, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return  # nobody waits
    with suppress(OSError):
        os.write(descriptor, b"!")
    os.close(descriptor)


def wait_for(directory: int, key: str, is_there: Callable[[], bool], timeout_s: float | None) -> bool:
    """Sleep until ``is_there``, which somebody's ``wake`` announces; False when the time passed first."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    if is_there():
        return True
    name = PREFIX + key
    with suppress(FileExistsError):
        os.mkfifo(name, 0o600, dir_fd=directory)
    descriptor = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        return _sleep_until(descriptor, is_there, deadline)
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)


def _sleep_until(descriptor: int, is_there: Callable[[], bool], deadline: float | None) -> bool:
    while not is_there():
        left = _LOOK_EVERY_S if deadline is None else min(_LOOK_EVERY_S, deadline - time.monotonic())
        if left <= 0:
            return False
        select.select([descriptor], [], [], left)
    return True
