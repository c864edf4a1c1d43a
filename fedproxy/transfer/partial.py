"""An object that is arriving: a file with holes, and a record of what is in it.

Strategy: what has arrived is written into the file first and then noted in the record, a line for each piece with its digest. Both are in the
kernel's hands before the next piece is asked for, so a killed process forgets nothing; a line that is torn, or whose digest does not match what
is in the file (the machine crashed), counts as not arrived.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from xxhash import xxh3_64, xxh3_64_hexdigest

from fedproxy.config.home import PRIVATE_FILE
from fedproxy.errors import StagingFullError, TransferError
from fedproxy.store.connectors.base import Buffer
from fedproxy.store.connectors.posix import write_all

LEAF_BYTES = 4 * 1024 * 1024
"""Pieces are this long and start at its multiples; the last one may be shorter."""
Range = tuple[int, int]
"""First byte, byte behind the last."""
_AT_ONCE_BYTES = 256 * 1024
"""Received, hashed and written while it is in the processor's cache."""


class Partial:
    """The file of one object on its way. Safe to use from many threads as long as each writes pieces of its own."""

    def __init__(self, folder: Path, name: str, size: int) -> None:
        """Open or create it.

        Raises:
            StagingFullError: there is no room for ``size`` bytes.
        """
        self.path = folder / f"{name}.part"
        self.size = size
        self._record_path = folder / f"{name}.have"
        self._lock = threading.Lock()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(self.path, flags, PRIVATE_FILE)
        self._record = -1
        self._have: dict[int, int] = {}
        try:
            self._open_record()
            self._reserve()
        except BaseException:
            self.close()
            raise

    def _open_record(self) -> None:
        """An object of one piece is here or not: it needs no record."""
        if self._record < 0 and self.size > LEAF_BYTES:
            self._record = os.open(self._record_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_APPEND, PRIVATE_FILE)
            self._recall()

    def _reserve(self) -> None:
        status, room = os.fstat(self.descriptor), os.fstatvfs(self.descriptor)
        if status.st_size > self.size:
            self.forget()
        if self.size - status.st_blocks * 512 > room.f_bavail * room.f_frsize:
            raise StagingFullError(f"no room for {self.size:,} bytes in {self.path.parent}", hint="free space there, or set transfer.folder")
        os.ftruncate(self.descriptor, self.size)

    def _recall(self) -> None:
        for line in os.pread(self._record, 1 << 30, 0).decode(errors="replace").splitlines(keepends=True):
            words = line.split()
            with suppress(ValueError, IndexError):
                start, end = int(words[0]), int(words[1])
                if line.endswith("\n") and 0 <= start < end <= self.size and self._digest(start, end) == words[2]:
                    self._have[start] = end

    def _digest(self, start: int, end: int) -> str:
        return xxh3_64_hexdigest(os.pread(self.descriptor, end - start, start))

    @property
    def received(self) -> int:
        """Bytes that are here."""
        with self._lock:
            return sum(end - start for start, end in self._have.items())

    @property
    def complete(self) -> bool:
        """Whether all is here."""
        return self.received == self.size

    def missing(self) -> list[Range]:
        """The pieces that are not here, in order; none is longer than a leaf."""
        with self._lock:
            return [piece for piece in leaves(self.size) if self._have.get(piece[0]) != piece[1]]

    def write(self, start: int, data: Buffer) -> None:
        """Write a run of bytes of a piece; it counts once `settle` says so.

        Raises:
            StagingFullError: the disk is full.
        """
        try:
            write_all(self.descriptor, [data], start)
        except OSError as exc:
            raise StagingFullError(f"cannot write {self.path}: {exc.strerror}", hint="free space there, or lower space_bytes") from exc

    def pour(self, start: int, end: int, read_into: Callable[[memoryview], object]) -> bytes:
        """Write a piece as it comes; its xxh3-64 digest, for whoever calls `settle` or `spoil`. Raises as `write`, and what ``read_into`` raises.

        Args:
            read_into: fills a view with what comes next.
        """
        buffer, digest = _buffer(), xxh3_64()
        for at in range(start, end, len(buffer)):
            view = buffer[: end - at]
            read_into(view)
            digest.update(view)
            self.write(at, view)
        return digest.digest()

    def settle(self, start: int, end: int, digest: str) -> None:
        """A piece is whole in the file, and has this xxh3-64 digest (16 hex digits)."""
        try:
            if self._record >= 0:
                os.write(self._record, f"{start} {end} {digest}\n".encode())
        except OSError as exc:
            raise StagingFullError(f"cannot write {self._record_path}: {exc.strerror}", hint="free space there") from exc
        with self._lock:
            self._have[start] = end

    def spoil(self, start: int) -> None:
        """What was poured there is not what was sent, whatever was there before."""
        with self._lock:
            self._have.pop(start, None)

    def settle_all(self) -> None:
        """Somebody else wrote the whole file: take it as it is.

        Raises:
            TransferError: it has another size.
        """
        os.close(self.descriptor)  # it may be another file by now
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = os.fstat(self.descriptor).st_size
        if found != self.size:
            raise TransferError(f"{self.path.name} has {found:,} bytes instead of {self.size:,}")
        with self._lock:
            self._have = dict(leaves(self.size))

    def resize(self, size: int) -> None:
        """Its size is known only now. Raises as the constructor."""
        if size != self.size:
            self.forget()
            self.size = size
            self._open_record()
            self._reserve()

    def head(self, count: int) -> bytes:
        """The first bytes."""
        return os.pread(self.descriptor, count, 0)

    def forget(self) -> None:
        """Throw away what has arrived."""
        with self._lock:
            self._have = {}
            if self._record >= 0:
                os.ftruncate(self._record, 0)
            os.ftruncate(self.descriptor, 0)

    def close(self) -> None:
        """Close the files; what has arrived stays for another time. Idempotent."""
        for name in ("descriptor", "_record"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                setattr(self, name, -1)
                os.close(descriptor)

    def remove(self) -> None:
        """Close and remove what is left of it. Idempotent."""
        self.close()
        for path in (self.path, self._record_path) if self.size > LEAF_BYTES else (self.path,):
            with suppress(OSError):
                os.unlink(path)


_local = threading.local()


def _buffer() -> memoryview:
    """A buffer of this thread's own."""
    found: memoryview | None = getattr(_local, "buffer", None)
    if found is None:
        found = _local.buffer = memoryview(bytearray(_AT_ONCE_BYTES))
    return found


def leaves(size: int) -> list[Range]:
    """The pieces of an object of that size."""
    return [(start, min(start + LEAF_BYTES, size)) for start in range(0, size, LEAF_BYTES)]


def runs(pieces: Iterable[Range], most_bytes: int) -> list[Range]:
    """Neighbouring pieces joined to runs of at most ``most_bytes`` (a piece alone may be longer)."""
    joined: list[Range] = []
    for start, end in pieces:
        if joined and joined[-1][1] == start and end - joined[-1][0] <= most_bytes:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
