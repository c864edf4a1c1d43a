"""Peak memory of a run's processes.

Strategy: PSS, because the pages of an array that twenty processes map are one array. Pages of files in /dev/shm that
nobody maps are in no process's PSS, so the memory in use is anonymous PSS plus whichever is larger: mapped shared
memory, or what /dev/shm holds (of the whole machine: run alone).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from attrs import frozen

MB = 1_000_000
PERIOD_S = 0.005
_KB = 1024


@frozen
class Usage:
    """Bytes in use by a group of processes at one moment."""

    pss: int
    anonymous: int
    shared: int

    @property
    def total(self) -> int:
        """Memory that would come back if the group ended, as nearly as it can be said."""
        return self.anonymous + self.shared


def usage(pids: list[int]) -> Usage:
    """Memory of ``pids`` together; a process that ended meanwhile counts nothing."""
    pss = anonymous = mapped = 0
    for pid in pids:
        with suppress(OSError):
            fields = _rollup(pid)
            pss += fields["Pss"]
            anonymous += fields["Pss_Anon"]
            mapped += fields["Pss_Shmem"]
    return Usage(pss=pss, anonymous=anonymous, shared=max(mapped, _shm_used()))


def _rollup(pid: int) -> dict[str, int]:
    fields = {"Pss": 0, "Pss_Anon": 0, "Pss_Shmem": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        if name in fields:
            fields[name] = int(rest.split()[0]) * _KB
    return fields


def _shm_used() -> int:
    stat = os.statvfs("/dev/shm")
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


class PeakMemory:
    """Watches a group of processes from a thread; the extra over what they held on entering."""

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        self._pids = pids
        self._before = Usage(pss=0, anonymous=0, shared=0)
        self._peak_pss = self._peak_total = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._before = usage(self._pids())
        self._peak_pss, self._peak_total = self._before.pss, self._before.total
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        pids, round_number = self._pids(), 0
        while not self._stop.wait(PERIOD_S):
            round_number += 1
            if round_number % 10 == 0:
                pids = self._pids()
            now = usage(pids)
            self._peak_pss = max(self._peak_pss, now.pss)
            self._peak_total = max(self._peak_total, now.total)

    def sample(self) -> dict[str, float]:
        """``peak_pss`` and ``extra_memory`` (peak total less the total before), in MB."""
        return {"peak_pss": self._peak_pss / MB, "extra_memory": (self._peak_total - self._before.total) / MB}
