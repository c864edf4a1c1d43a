"""Reading one object from shared memory: small ones are copied, large ones mapped.

A file that may be recycled is read under a shared ``flock``. The lock belongs to the open file, which a mapping keeps
open: it ends when the last view of the mapping is gone, or with the process.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from typing import cast

from fedproxy.store.connectors.base import Buffer
from fedproxy.store.connectors.kept_files import KeptFile
from fedproxy.store.connectors.posix import read_all
from fedproxy.store.connectors.shm_layout import HEAD_BYTES, MAP_FROM_BYTES, Head, parse_head
from fedproxy.store.connectors.shm_mappings import KEEP_FROM_BYTES, PRIVATE, mapping_of

OPEN_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FIRST_READ = 4096
_RETRIES = 8
_RECYCLED = object()


def load(directory: int, key: str) -> Buffer | None:
    """The bytes under ``key``; None where they expired.

    Raises:
        OSError: there is no such file, or it cannot be opened.
    """
    for _ in range(_RETRIES):
        descriptor = os.open(key, OPEN_READ, dir_fd=directory)
        try:
            start = os.pread(descriptor, _FIRST_READ, 0)
            head = parse_head(start)
            if head is None and os.fstat(descriptor).st_nlink == 0:
                continue  # it was removed as we opened it
            if head is None:
                return read_all(descriptor, os.fstat(descriptor).st_size, 0)  # not ours: the reader will say so
            if head.recycled:
                found = _lent(descriptor, key) if head.size >= KEEP_FROM_BYTES else _locked(descriptor, key)
                if found is _RECYCLED:
                    continue  # it was recycled as we opened it
                return cast("Buffer | None", found)
            return None if head.expired(time.time()) else _contents(descriptor, head.size, start)
        finally:
            os.close(descriptor)
    return None


def open_kept(directory: int, key: str) -> KeptFile | None:
    """The file under ``key``, to read parts of it; None where it expired. One that may be recycled is not, as long as it is open.

    Raises:
        OSError: there is no such file, or it cannot be opened.
    """
    for _ in range(_RETRIES):
        descriptor = os.open(key, OPEN_READ, dir_fd=directory)
        try:
            head = _locked_head(descriptor)
            links = os.fstat(descriptor).st_nlink
            if head is None or head.key != key or links == 0:
                continue  # it was recycled or removed as we opened it
            lives_s = head.expires - time.time() if head.expires else float("inf")
            if lives_s <= 0:
                return None
            if head.recycled and links == 1:
                lives_s = 0.0  # its key was removed, or its writer has ended: its names tell nothing more
            file, descriptor = KeptFile(descriptor, HEAD_BYTES, head.size, links, lives_s), -1
            return file
        finally:
            if descriptor >= 0:
                os.close(descriptor)
    return None


def _locked(descriptor: int, key: str) -> object:
    """The object in a segment, mapped for this reader alone; None where it expired."""
    head = _locked_head(descriptor)
    if head is None or head.key != key:
        return _RECYCLED
    return None if head.expired(time.time()) else _contents(descriptor, head.size, b"")


def _lent(descriptor: int, key: str) -> object:
    """The object in a segment, by a mapping that this process keeps."""
    mapping = mapping_of(descriptor)
    head = _locked_head(mapping.descriptor)
    if head is None or head.key != key:
        mapping.give_back()
        return _RECYCLED
    if head.expired(time.time()):
        mapping.give_back()
        return None
    return mapping.lend(HEAD_BYTES, head.size)


def read_head(directory: int, name: str) -> Head | None:
    """What the head says; None where it is none.

    Raises:
        OSError: there is no such file, or it cannot be opened.
    """
    descriptor = os.open(name, OPEN_READ, dir_fd=directory)
    try:
        return parse_head(os.pread(descriptor, HEAD_BYTES, 0))
    finally:
        os.close(descriptor)


def _locked_head(descriptor: int) -> Head | None:
    """The head, with a shared lock; None where its writer is at work."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return parse_head(os.pread(descriptor, HEAD_BYTES, 0))


def _contents(descriptor: int, size: int, start: bytes) -> Buffer:
    if start and size <= len(start) - HEAD_BYTES:
        return start[HEAD_BYTES : HEAD_BYTES + size]
    if size < MAP_FROM_BYTES or os.fstat(descriptor).st_size < HEAD_BYTES + size:
        return read_all(descriptor, size, HEAD_BYTES)
    mapping = mmap.mmap(descriptor, HEAD_BYTES + size, flags=PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return memoryview(mapping)[HEAD_BYTES:]
