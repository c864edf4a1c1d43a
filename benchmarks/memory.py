"""Peak memory of a system's processes.

Strategy: the processes are stopped while they are looked at: two that map the same pages one after the other would else
be counted twice. PSS, because the pages of an array that twenty processes map are one array. Pages of files in /dev/shm that
nobody maps are in no process's PSS: measure while the receiver has them mapped.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

MB = 1_000_000
PERIOD_S = 0.01
_KB = 1024


def pss(pids: list[int]) -> int:
    """Bytes of ``pids`` together; a process that ended meanwhile counts nothing."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * _KB
    return total


def stopped_pss(pids: list[int]) -> int:
    """``pss`` of processes that stand still meanwhile."""
    try:
        _signal_all(pids, signal.SIGSTOP)
        return pss(pids)
    finally:
        _signal_all(pids, signal.SIGCONT)


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class PeakMemory:
    """Watches a group of processes from a thread, stopping them again and again: nothing is timed meanwhile."""

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        self._pids = pids
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self.peak_bytes = stopped_pss(self._pids())
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        """The group is looked up anew now and then: workers come and go."""
        pids, rounds = self._pids(), 0
        while not self._stop.wait(PERIOD_S):
            self.peak_bytes = max(self.peak_bytes, stopped_pss(pids))
            rounds += 1
            if rounds % 10 == 0:
                pids = self._pids()
