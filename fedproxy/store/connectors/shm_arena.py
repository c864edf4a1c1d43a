"""Shared memory that was used before, to be used again.

Strategy: a fresh page costs as much as copying into it, so a writer keeps the files of objects that were evicted, mapped
and faulted in, and puts the next object of about that size there. A file has two names: a segment name, which is the
writer's, and the key, which readers open and an evictor removes; when only the first is left, and no reader holds the
file's lock, the writer may use it again. Readers hold a shared ``flock``, which the kernel drops with them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress

from fedproxy.store.connectors.base import Buffer, Parts
from fedproxy.store.connectors.posix import write_all
from fedproxy.store.connectors.shm_layout import HEAD_BYTES, MAP_FROM_BYTES, SEGMENT

_MAX_LOOKS = 16
_IDLE_S = 60.0
_POPULATE_WRITE = 23
_GIL_FREE_FROM = 4 << 20
_TWO_THREADS_FROM = 32 << 20
"""One core cannot use all of the memory's bandwidth; two can."""
_PAGE = mmap.PAGESIZE


class Segment:
    """One file of the arena, open, and mapped once it was used again."""

    __slots__ = ("capacity", "descriptor", "freed_at", "mapping", "name")

    def __init__(self, name: str, descriptor: int, capacity: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.capacity = capacity
        self.mapping: mmap.mmap | None = None
        self.freed_at = 0.0

    def write(self, head: bytes, parts: Parts) -> None:
        """Write into pages that are there already."""
        mapping = self.mapping
        if mapping is None:
            mapping = self.mapping = mmap.mmap(self.descriptor, self.capacity)
            with suppress(OSError, ValueError):
                mapping.madvise(_POPULATE_WRITE)
        with memoryview(mapping) as view:
            view[:HEAD_BYTES] = head
            at = HEAD_BYTES
            for part in parts:
                at += _copy(view, at, part)

    def close(self) -> None:
        """Unmap and close."""
        if self.mapping is not None:
            self.mapping.close()
        os.close(self.descriptor)


def _copy(view: memoryview, at: int, part: Buffer) -> int:
    source = memoryview(part).cast("B")
    nbytes = source.nbytes
    if nbytes >= _GIL_FREE_FROM and "numpy" in sys.modules:
        _copy_without_lock(view[at : at + nbytes], source)
    else:
        view[at : at + nbytes] = source
    return nbytes


def _copy_without_lock(dest: memoryview, source: memoryview) -> None:
    """Without holding the interpreter lock; by two threads where it is much."""
    import numpy as np

    to, given = np.frombuffer(dest, np.uint8), np.frombuffer(source, np.uint8)
    if len(given) < _TWO_THREADS_FROM or len(os.sched_getaffinity(0)) < 2:
        np.copyto(to, given)
        return
    half = len(given) // 2 // _PAGE * _PAGE
    helper = threading.Thread(target=np.copyto, args=(to[half:], given[half:]))
    helper.start()
    np.copyto(to[:half], given[:half])
    helper.join()


class Arena:
    """The segments of one writer. Locked for bookkeeping only, never while bytes are copied."""

    def __init__(self, directory: int, token: str, max_free_bytes: int) -> None:
        self._directory = directory
        self._token = token
        self._max_free = max_free_bytes
        self._lock = threading.Lock()
        self._free: list[Segment] = []
        self._used: OrderedDict[str, Segment] = OrderedDict()
        self._count = 0
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._max_segments = max(16, min(512, soft // 8)) if soft > 0 else 512

    def take(self, nbytes: int) -> Segment | None:
        """A free segment of at least ``nbytes``, locked against readers; None where there is none that fits."""
        need = nbytes + HEAD_BYTES
        with self._lock:
            segment = self._best_fit(need)
            if segment is None:
                self._collect(need)
                segment = self._best_fit(need)
            if segment is not None:
                self._free.remove(segment)
            return segment

    def create(self, nbytes: int, head: bytes, parts: Parts) -> Segment | None:
        """A new segment that holds the object; None where we have as many as we may.

        Raises:
            OSError: no room.
        """
        with self._lock:
            if len(self._used) + len(self._free) >= self._max_segments and not self._drop_one():
                return None
            self._count += 1
            name = f"{SEGMENT}{self._token}-{self._count}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=self._directory)
        try:
            write_all(descriptor, [head, *parts])
            capacity = nbytes + HEAD_BYTES
            capacity += -capacity % _PAGE
            os.ftruncate(descriptor, capacity)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(name, dir_fd=self._directory)
            raise
        return Segment(name, descriptor, capacity)

    def publish(self, segment: Segment, key: str, *, replace: bool) -> None:
        """Give a written segment its key; readers see it from now on.

        The key comes first, then the entry among the used: a segment with an entry and no key looks free to whoever collects.
        """
        fcntl.flock(segment.descriptor, fcntl.LOCK_UN)
        try:
            self._link(segment.name, key, replace)
        except OSError:
            with self._lock:
                if self._is_free(segment):
                    self._release(segment)
            raise
        with self._lock:
            old = self._used.pop(key, None)
            if old is not None:
                self._used[f"\0{old.name}"] = old
            self._used[key] = segment

    def _link(self, name: str, key: str, replace: bool) -> None:
        directory = self._directory
        if not replace:
            os.link(name, key, src_dir_fd=directory, dst_dir_fd=directory)
            return
        temporary = f"{name}-new"
        os.link(name, temporary, src_dir_fd=directory, dst_dir_fd=directory)
        os.rename(temporary, key, src_dir_fd=directory, dst_dir_fd=directory)

    def freed(self, key: str) -> None:
        """This process removed ``key``: look at its segment now rather than later."""
        with self._lock:
            segment = self._used.get(key)
            if segment is not None and self._is_free(segment):
                del self._used[key]
                self._release(segment)
                self._trim(self._max_free)

    def trim(self, *, everything: bool = False) -> None:
        """Give back what was not used for a minute, or all that is free."""
        with self._lock:
            self._collect(0, every=True)
            if everything:
                self._trim(0)
                return
            horizon = time.monotonic() - _IDLE_S
            for segment in [segment for segment in self._free if segment.freed_at < horizon]:
                self._destroy(segment)

    def close(self) -> None:
        """Give back what is free and let go of the rest, whose objects stay for readers."""
        with self._lock:
            self._collect(0, every=True)
            self._trim(0)
            for segment in self._used.values():
                with suppress(OSError):
                    os.unlink(segment.name, dir_fd=self._directory)
                segment.close()
            self._used.clear()

    def forget(self) -> None:
        """After a fork: the segments are the parent's."""
        for segment in [*self._free, *self._used.values()]:
            segment.close()
        self._free, self._used = [], OrderedDict()

    # -- called with the lock held

    def _best_fit(self, need: int) -> Segment | None:
        fitting = [s for s in self._free if need <= s.capacity <= 2 * need + MAP_FROM_BYTES]
        return min(fitting, key=lambda s: (s.capacity, s.mapping is None, -s.freed_at), default=None)

    def _collect(self, need: int, *, every: bool = False) -> None:
        """Find segments whose key somebody else removed; oldest first, a few at a time."""
        for looks, (key, segment) in enumerate(list(self._used.items())):
            if looks >= _MAX_LOOKS and not every:
                break
            if self._is_free(segment):
                del self._used[key]
                self._release(segment)
            else:
                self._used.move_to_end(key)
        self._trim(self._max_free)

    def _is_free(self, segment: Segment) -> bool:
        if os.fstat(segment.descriptor).st_nlink > 1:
            return False
        try:
            fcntl.flock(segment.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # a reader still has it mapped
        return True

    def _release(self, segment: Segment) -> None:
        segment.freed_at = time.monotonic()
        self._free.append(segment)

    def _trim(self, limit: int) -> None:
        held = sum(segment.capacity for segment in self._free)
        while held > limit and self._free:
            segment = min(self._free, key=lambda s: s.freed_at)
            held -= segment.capacity
            self._destroy(segment)

    def _drop_one(self) -> bool:
        self._collect(0)
        if not self._free:
            return False
        self._destroy(min(self._free, key=lambda s: s.freed_at))
        return True

    def _destroy(self, segment: Segment) -> None:
        self._free.remove(segment)
        with suppress(OSError):
            os.unlink(segment.name, dir_fd=self._directory)
            os.ftruncate(segment.descriptor, 0)  # its pages go now, though readers may keep idle mappings of it
        segment.close()
