"""Many things that are due at some time, with one timer of the loop for the earliest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")
_LATEST_S = 24 * 3600.0
"""The longest that one timer of the loop is asked to wait."""


class Timers(Generic[T]):
    """Calls ``on_due`` with each item when its time has come, by the loop's monotonic clock. An item that is of no interest by then is not taken out:
    whoever is called looks."""

    def __init__(self, on_due: Callable[[T], None]) -> None:
        self._on_due = on_due
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def after(self, delay_s: float, item: T) -> None:
        """Call with ``item`` in ``delay_s`` seconds."""
        self._count += 1
        due = self._loop.time() + max(0.0, delay_s)
        heappush(self._heap, (due, self._count, item))
        if self._heap[0][1] == self._count:
            self._set()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_s = self._heap[0][0] - self._loop.time() if self._heap else 0.0
        self._timer = self._loop.call_later(min(max(0.0, wait_s), _LATEST_S), self._ring) if self._heap else None

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            self._on_due(heappop(self._heap)[2])
        if self._timer is None:
            self._set()
