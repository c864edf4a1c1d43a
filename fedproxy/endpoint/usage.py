"""What a task used of its worker: processor time, and memory at its peak."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress

_SHORT_S = 0.002
"""Functions that were this short the last time are not measured: to look would cost more than they do."""
_LONG_S = 0.05


class Meter:
    """Used by the worker's main thread around each task."""

    def __init__(self) -> None:
        self._cpu = self._children = 0.0
        self._began = 0.0
        self._long: set[bytes] = set()
        self._short: set[bytes] = set()

    def begin(self, function: bytes) -> None:
        """A task of this function begins. One that is known to take its time has its peak measured from here."""
        if function in self._long:
            _forget_peak()
        self._began = time.monotonic()
        if function not in self._short:
            self._cpu = time.process_time()

    def end(self, function: bytes) -> tuple[float, int]:
        """Processor seconds, of the programs that it started, too; the largest resident memory in bytes. Zeros: not measured.

        The first long task of a function is told the worker's peak so far.
        """
        took_s = time.monotonic() - self._began
        if took_s < _SHORT_S:
            self._short.add(function)
            return 0.0, 0
        if function in self._short:
            self._short.remove(function)
            return 0.0, 0
        cpu_s = time.process_time() - self._cpu
        if took_s > _LONG_S:
            self._long.add(function)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before, self._children = self._children, children.ru_utime + children.ru_stime
        return cpu_s + self._children - before, 1024 * max(ours, children.ru_maxrss if self._children > before else 0)


def _forget_peak() -> None:
    with suppress(OSError):
        descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)  # "5" sets the peak back to what is resident now (proc(5))
        try:
            os.write(descriptor, b"5")
        finally:
            os.close(descriptor)
