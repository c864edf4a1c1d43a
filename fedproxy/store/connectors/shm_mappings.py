"""Mappings of large segments that a process keeps, so that the next reader finds the pages there.

Strategy: to map half a gigabyte anew, touch it and unmap it costs ten times what summing it costs, and a segment that
its writer uses again has the same pages. So a mapping whose last view went becomes idle, and whoever next reads that
file gets it. A mapping is private: what a reader changed in it are pages of its own, and a mapping that has any is
never lent again. Idle mappings hold no lock, so that the writer may use the segment, and go soon after its file went.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import threading
import time
import weakref
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

PRIVATE = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000)
KEEP_FROM_BYTES = 512 * 1024
"""Smaller ones are mapped anew in less time than it takes to see that nobody wrote in them."""
_MAX_IDLE = 64
_IDLE_S = 30.0
_SWEEP_S = 1.0
_PAUSE_S = 0.005
_SCAN = struct.Struct("<12Q")  # struct pm_scan_arg
_PAGEMAP_SCAN = 0xC0606610
_FILE, _PRESENT, _SWAPPED = 4, 8, 16


class Mapping:
    """One file, mapped privately. Lent to one reader at a time."""

    __slots__ = ("_address", "_clean_in", "_forks", "_kind", "_lock", "_mapping", "_turn", "_watch", "descriptor", "identity",
                 "idle_since")

    def __init__(self, descriptor: int, size: int, identity: tuple[int, int]) -> None:
        self._mapping = mmap.mmap(descriptor, size, flags=PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self._kind = ctypes.c_ubyte * size
        self._address = ctypes.addressof(self._kind.from_buffer(self._mapping))
        self._watch: Any = None
        self._forks = 0
        self._turn = self._clean_in = 0
        self._lock = threading.Lock()
        self.descriptor = os.dup(descriptor)
        self.identity = identity
        self.idle_since = 0.0

    def lend(self, start: int, size: int) -> memoryview:
        """A view; when it and all that was made from it are gone, the mapping is idle. The lock is the caller's."""
        carrier: Any = self._kind.from_buffer(self._mapping)
        self._forks = _forks
        self._turn += 1
        self._watch = weakref.ref(carrier, self._returned)
        _lent.add(self)
        return memoryview(carrier).cast("B")[start : start + size]

    def _returned(self, _: object) -> None:
        """Called from anywhere, the garbage collector included: takes no lock of ours."""
        _lent.discard(self)
        self._turn += 1
        if self._forks == _forks:  # else a child shares our lock, and perhaps looks at the pages
            self.give_back()

    def give_back(self) -> None:
        """Drop the lock and be idle."""
        with suppress(OSError):
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self.idle_since = time.monotonic()
        _idle.append(self)
        _returns.put(None)

    def is_clean(self) -> bool:
        """Whether an idle mapping shows the file alone; looked up once."""
        with self._lock:
            turn = self._turn  # what is seen while it is lent is soon out of date
            if self._clean_in != turn and self._has_no_own_pages():
                self._clean_in = turn
            return self._clean_in == self._turn

    def _has_no_own_pages(self) -> bool:
        """Asks for one page that is not the file's. False also where the kernel (before Linux 6.7) cannot say."""
        end = self._address + ctypes.sizeof(self._kind)
        end += -end % mmap.PAGESIZE
        found = ctypes.create_string_buffer(24)  # struct page_region
        anyof = _PRESENT | _SWAPPED
        room = ctypes.addressof(found)
        ask = _SCAN.pack(_SCAN.size, 0, self._address, end, 0, room, 1, 1, _FILE, _FILE, anyof, _FILE | anyof)
        try:
            return bool(fcntl.ioctl(_pagemap(), _PAGEMAP_SCAN, bytearray(ask), True) == 0)
        except OSError:
            return False

    def is_stale(self, now: float) -> bool:
        """Whether it was idle for long, or its file has no name any more: its memory is kept by us alone."""
        return now - self.idle_since > _IDLE_S or os.fstat(self.descriptor).st_nlink == 0

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.descriptor)


_lent: set[Mapping] = set()
_idle: list[Mapping] = []
_lock = threading.Lock()
_returns: SimpleQueue[None] = SimpleQueue()
_forks = 0
_sweeper: threading.Thread | None = None
_pagemap_descriptor = -1


def mapping_of(descriptor: int) -> Mapping:
    """A mapping of the whole file behind ``descriptor``: an idle one if this process has one that is clean.

    Raises:
        OSError: it cannot be mapped.
    """
    status = os.fstat(descriptor)
    identity = (status.st_dev, status.st_ino)
    while (mapping := _take(identity)) is not None:
        if mapping.is_clean():
            return mapping
    _start_sweeper()
    return Mapping(descriptor, status.st_size, identity)


def _take(identity: tuple[int, int]) -> Mapping | None:
    with _lock:
        for mapping in reversed(_idle):
            if mapping.identity == identity:
                _idle.remove(mapping)
                return mapping
    return None


def sweep(now: float) -> int:
    """Drop stale mappings, and the oldest where there are too many; how many are left."""
    with _lock:
        stale = [mapping for mapping in list(_idle) if mapping.is_stale(now)]
        stale += [mapping for mapping in _idle[:-_MAX_IDLE] if mapping not in stale]
        for mapping in stale:
            _idle.remove(mapping)
        left = len(_idle)
    del stale
    return left


def _start_sweeper() -> None:
    global _sweeper
    with _lock:
        if _sweeper is None:
            _sweeper = threading.Thread(target=_sweep_now_and_then, name="fedproxy-mappings", daemon=True)
            _sweeper.start()


def _sweep_now_and_then() -> None:
    """Sleeps as long as nothing is idle."""
    swept = 0.0
    while True:
        with suppress(Empty):
            _returns.get(timeout=_SWEEP_S if _idle else None)
            time.sleep(_PAUSE_S)
            _look_at_idle()
        now = time.monotonic()
        if now - swept >= _SWEEP_S or len(_idle) > _MAX_IDLE:
            swept = now
            sweep(now)


def _look_at_idle() -> None:
    """What was idle for a moment is looked at here rather than by its next reader."""
    while not _returns.empty():
        _returns.get()
    for mapping in list(_idle):
        mapping.is_clean()


def _pagemap() -> int:
    global _pagemap_descriptor
    if _pagemap_descriptor < 0:
        _pagemap_descriptor = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    return _pagemap_descriptor


def _before_fork() -> None:
    global _forks
    _forks += 1


def _after_fork_in_child() -> None:
    """Idle mappings are the parent's affair; those that are lent live as long as the child looks at them."""
    global _lock, _returns, _sweeper, _pagemap_descriptor
    if _pagemap_descriptor >= 0:
        os.close(_pagemap_descriptor)  # it shows the parent's memory
    _lock, _returns, _sweeper, _pagemap_descriptor = threading.Lock(), SimpleQueue(), None, -1
    _idle.clear()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
