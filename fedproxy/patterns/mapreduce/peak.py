"""The most memory that a task had.

Strategy: the kernel keeps the high-water mark of the whole process, and forgets it when asked to. Pages of shared memory that were mapped before
do not count: they are a store's, which keeps the segments of evicted objects for the next ones, and they are there once for all processes.
"""

from __future__ import annotations

import resource
from contextlib import suppress


class Peak:
    """The most that this process has of its own from here on, in bytes; where the kernel cannot tell (not Linux), since it started."""

    def __init__(self) -> None:
        with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        self._shared = _status_bytes("RssShmem") or 0

    def nbytes(self) -> int:
        """So far."""
        peak = _status_bytes("VmHWM")
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if peak is None else peak - self._shared


def _status_bytes(name: str) -> int | None:
    with suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def idle_bytes() -> int:
    """What this process has of its own now."""
    return Peak().nbytes()
