"""The processes of one system.

Strategy: a mark in their environment finds those that re-parented themselves; descent finds those that overwrote their
environment (``setproctitle`` does: Dask's and Ray's workers). What was once found is remembered by its start time.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MARK = "FEDPROXY_BENCH_MARK"
PROC = Path("/proc")
_PARENT, _STARTED, _STATE, _USER, _SYSTEM = 1, 19, 0, 11, 12
"""Fields of /proc/PID/stat after the name."""


class ProcessGroup:
    """Everything that was started under one mark."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self._known: dict[int, str] = {}

    def pids(self) -> list[int]:
        """Those that live now (zombies aside)."""
        table = dict(_processes())
        alive = {pid for pid, started in self._known.items() if pid in table and table[pid][_STARTED] == started}
        alive |= {pid for pid in table if pid not in alive and _carries(pid, self.mark)}
        grown = True
        while grown:
            children = {pid for pid, stat in table.items() if int(stat[_PARENT]) in alive}
            grown = not children <= alive
            alive |= children
        self._known.update({pid: table[pid][_STARTED] for pid in alive})
        return sorted(alive)

    def wait_gone(self, timeout_s: float) -> list[int]:
        """Wait until none lives; those that still do after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while (left := self.pids()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def end(self, *, grace_s: float = 5.0) -> int:
        """End what lives: TERM, then KILL. How many had to be ended."""
        left = self.pids()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if not self.wait_gone(grace_s):
                break
        return len(left)


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[_STATE] not in "ZX":
                    yield int(entry.name), fields


def children(parents: Iterable[int]) -> list[int]:
    """Processes whose parent is one of these."""
    wanted = {str(pid) for pid in parents}
    return sorted(pid for pid, stat in _processes() if stat[_PARENT] in wanted)


def descriptors(pids: Iterable[int]) -> int:
    """Open descriptors of ``pids`` together."""
    return _entries(pids, "fd")


def threads(pids: Iterable[int]) -> int:
    """Threads of ``pids`` together."""
    return _entries(pids, "task")


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time that ``pids`` have used."""
    total = 0
    for pid in pids:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        total += int(fields[_USER]) + int(fields[_SYSTEM])
    return total / os.sysconf("SC_CLK_TCK")


def _entries(pids: Iterable[int], folder: str) -> int:
    total = 0
    for pid in pids:
        with suppress(OSError):  # it ended meanwhile
            total += len(os.listdir(PROC / str(pid) / folder))
    return total


def _carries(pid: int, mark: str) -> bool:
    with suppress(OSError):  # gone, or another user's
        return f"{MARK}={mark}".encode() in (PROC / str(pid) / "environ").read_bytes()
    return False
