"""What the file and the shared memory connector share: whole writes, private folders, errors in our terms."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from fedproxy.errors import InvalidKeyError, StoreError, StoreFullError, StoreUnavailableError
from fedproxy.store.connectors.base import Buffer

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM})
_MAX_PARTS = 1024
_MAX_WRITE = 1 << 30
_SMALL_PART = 64 * 1024


def write_all(descriptor: int, parts: Sequence[Buffer], offset: int = 0) -> int:
    """Write ``parts`` end to end from ``offset`` without joining them; the offset after the last byte."""
    if len(parts) == 1 and len(parts[0]) < _MAX_WRITE and isinstance(parts[0], bytes):
        written = os.pwrite(descriptor, parts[0], offset)
        if written == len(parts[0]):
            return offset + written
        return _write_views(descriptor, [memoryview(parts[0])[written:]], offset + written)
    return _write_views(descriptor, [memoryview(part).cast("B") for part in parts], offset)


def _write_views(descriptor: int, views: list[memoryview], offset: int) -> int:
    views = [view for view in views if view.nbytes]
    while views:
        written = os.pwritev(descriptor, views[:_MAX_PARTS], offset)
        offset += written
        done = 0
        while done < len(views) and written >= views[done].nbytes:
            written -= views[done].nbytes
            done += 1
        views = views[done:]
        if written:
            views[0] = views[0][written:]
    return offset


def read_all(descriptor: int, size: int, offset: int) -> bytearray:
    """``size`` bytes from ``offset``, or fewer where the file ends; received into place."""
    data = bytearray(size)
    view = memoryview(data)
    done = 0
    while done < size:
        count = os.preadv(descriptor, [view[done : done + _MAX_WRITE]], offset + done)
        if count == 0:
            view.release()
            del data[done:]
            break
        done += count
    return data


def read_part(descriptor: int, size: int, offset: int) -> Buffer:
    """The same, not to be written in: a small part costs one call and no more."""
    return os.pread(descriptor, size, offset) if size <= _SMALL_PART else read_all(descriptor, size, offset)


def translate(exc: OSError, what: str, *, store: str, key: str | None = None) -> StoreError:
    """The error to raise for ``exc``."""
    if exc.errno in _FULL:
        return StoreFullError(f"{what}: {exc.strerror}", store=store, key=key, hint="evict objects or make room")
    if exc.errno in (errno.ELOOP, errno.EISDIR):
        return InvalidKeyError(f"{what}: not a plain file", store=store, key=key, hint="somebody put a link there")
    hint = "check that the folder is there and yours" if exc.errno != errno.EMFILE else "raise the limit of open files"
    return StoreUnavailableError(f"{what}: {exc.strerror}", store=store, key=key, hint=hint)


def open_directory(path: Path, *, store: str, ours_alone: bool = False) -> int:
    """A descriptor of the folder, made (0700) unless it is there.

    Args:
        ours_alone: refuse a folder of another user or one that others may write.

    Raises:
        StoreUnavailableError: it cannot be made, or is not to be trusted.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if ours_alone else 0))
    except OSError as exc:
        raise translate(exc, f"cannot use the folder {path}", store=store) from exc
    status = os.fstat(descriptor)
    if ours_alone and (status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        os.close(descriptor)
        raise StoreUnavailableError(f"the folder {path} belongs to somebody else", store=store, hint="remove it")
    return descriptor
