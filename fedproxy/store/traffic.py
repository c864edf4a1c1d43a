"""Bytes that this process has read from and written to stores: one pair of counters, for accounts of what moved where."""

from __future__ import annotations

import threading

_lock = threading.Lock()
_read = 0
_written = 0


def count(*, read: int = 0, written: int = 0) -> None:
    """Bytes have come from, or gone to, a store. What a cache in this process had is not read."""
    global _read, _written
    with _lock:
        _read += read
        _written += written


def totals() -> tuple[int, int]:
    """Bytes read and written so far."""
    return _read, _written
