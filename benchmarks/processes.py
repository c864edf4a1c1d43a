"""The processes of one run, found by a mark in their environment: also those that re-parented themselves."""

from __future__ import annotations

import os
import signal
import time
import uuid
from contextlib import suppress
from pathlib import Path

MARK = "FEDPROXY_BENCH_MARK"
PROC = Path("/proc")


def new_mark() -> str:
    """A mark that no other process carries."""
    return uuid.uuid4().hex


def marked(mark: str) -> list[int]:
    """Living processes (zombies aside) whose environment carries ``mark``."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):  # gone, or another user's
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def wait_gone(mark: str, timeout_s: float) -> list[int]:
    """Wait until no process carries ``mark``; those that still do after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def end_all(mark: str, *, grace_s: float = 5.0) -> int:
    """End what still carries ``mark``: TERM, then KILL. How many had to be killed."""
    for pid in marked(mark):
        _signal(pid, signal.SIGTERM)
    left = wait_gone(mark, grace_s)
    for pid in left:
        _signal(pid, signal.SIGKILL)
    wait_gone(mark, grace_s)
    return len(left)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
