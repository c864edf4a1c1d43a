"""Processes that are known by a mark in their environment, wherever they went.

A program may leave its process group and its session (mpirun does so with every rank) and its parent may be gone; what it started inherits the mark
nonetheless. Only what throws away its whole environment is not found.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

_GIVE_UP_S = 2.0
_AGAIN_S = 0.01


def marked(name: str, mark: str) -> Iterator[int]:
    """Ids of this user's running processes, but for this one, that were started with the variable ``name`` set to ``mark``."""
    wanted = f"{name}={mark}".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    yield int(entry)


def kill_marked(name: str, mark: str) -> None:
    """Kill all of them, and what they start meanwhile. Returns when none is left, or after two seconds."""
    deadline = time.monotonic() + _GIVE_UP_S
    while found := list(marked(name, mark)):
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(_AGAIN_S)
