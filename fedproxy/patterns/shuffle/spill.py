"""Sorted runs on this machine's disk, in files that have no name and so cannot be left behind."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress

from fedproxy.errors import StoreFullError
from fedproxy.patterns.shuffle.chunks import HEAD, decode_chunks, encode_chunk
from fedproxy.patterns.shuffle.records import Records, Run
from fedproxy.store.connectors.base import Buffer


class SpillFile:
    """Bytes that are written once and read in ranges."""

    def __init__(self) -> None:
        self._descriptor, path = tempfile.mkstemp(prefix="fedproxy-spill-")
        os.unlink(path)
        self.nbytes = 0

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._descriptor)

    def append(self, parts: list[Buffer]) -> int:
        """Write ``parts``; where they begin.

        Raises:
            StoreFullError: the disk is full.
        """
        start = self.nbytes
        try:
            for part in parts:
                view = memoryview(part)
                while view:
                    written = os.write(self._descriptor, view)
                    self.nbytes += written
                    view = view[written:]
        except OSError as exc:
            raise StoreFullError(f"cannot spill to {tempfile.gettempdir()}: {exc.strerror}", hint="set TMPDIR to a disk with room") from exc
        return start

    def read(self, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``."""
        return os.pread(self._descriptor, length, start)

    def mapped(self) -> memoryview:
        """All of it, not in this process's own memory."""
        if not self.nbytes:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._descriptor, self.nbytes, prot=mmap.PROT_READ))


def pieces_of(run: Run, piece_bytes: int) -> Iterator[Run]:
    """A run in pieces of about ``piece_bytes`` of memory."""
    count = max(1, -(-run.nbytes // max(1, piece_bytes)))
    step = max(1, -(-len(run) // count))
    for start in range(0, len(run), step):
        yield run.cut(start, min(len(run), start + step)) if count > 1 else run


class Spill:
    """One sorted run in a file, in pieces small enough to hold one of each run."""

    def __init__(self, records: Records, pieces: Iterator[Run]) -> None:
        self._records = records
        self._file = SpillFile()
        for piece in pieces:
            if piece.keys:
                self._file.append(encode_chunk(records.encode(piece), compress=False, new_run=False))

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return self._file.nbytes

    def runs(self) -> Iterator[Run]:
        """The run, piece by piece."""
        at = 0
        while at < self._file.nbytes:
            length = HEAD.unpack(self._file.read(at, HEAD.size))[1] + HEAD.size
            for chunk in decode_chunks(self._file.read(at, length)):
                yield self._records.decode(chunk.raw)
            at += length
