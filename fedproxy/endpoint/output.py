"""What a worker process writes, cut at its tasks.

Strategy: standard output and error are append-only files, so everything is caught that any code writes there: Python, C, programs it starts.
Positions only grow: what belongs to a task lies between two positions, and a task that writes nothing costs two calls of lseek. What nobody
keeps is given back to the file system as holes.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from contextlib import suppress

from fedproxy.protocol.messages import Output, Text
from fedproxy.protocol.written import HEAD_BYTES, TAIL_BYTES, kept

Positions = tuple[int, int]
_HOLE_BYTES = 4 * 1024 * 1024
_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01
_LINE_BUFFERED = 1
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fflush.argtypes = (ctypes.c_void_p,)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def read_kept(file: int, start: int, end: int) -> Text:
    """What is kept of a file between two positions."""
    head, *tail = (os.pread(file, to - at, at) for at, to in kept(start, end))
    return Text(head, b"".join(tail), end - start)


def punch(file: int, start: int, end: int) -> bool:
    """Give a range of a file back to the file system, if it is worth a call. False where that is not so, or the file system cannot."""
    return end - start >= _HOLE_BYTES and _libc.fallocate(file, _PUNCH_HOLE_KEEP_SIZE, start, end - start) == 0


def middle(start: int, end: int) -> tuple[int, int]:
    """The range that is not kept of what a task has written so far."""
    return start + HEAD_BYTES, end - TAIL_BYTES


class TaskOutput:
    """This process's standard output and error. Where they are no regular files, nothing is caught."""

    def __init__(self) -> None:
        self._files = [own for descriptor in (1, 2) if (own := _own(descriptor)) >= 0]
        self._caught = len(self._files) == 2
        self._punched = [0, 0]
        _buffer_by_line()
        self._streams = sys.stdout, sys.stderr
        self._flush()
        self.at: Positions = self._positions()

    def _positions(self) -> Positions:
        if not self._caught:
            return 0, 0
        out, err = self._files
        return os.lseek(out, 0, os.SEEK_END), os.lseek(err, 0, os.SEEK_END)

    def _flush(self) -> None:
        for stream in self._streams:
            with suppress(OSError, ValueError):  # the task may have closed it
                stream.flush()
        _libc.fflush(None)

    def _untouched(self) -> bool:
        """Whether the task has, for all that can be seen at little cost, written nothing and left its streams as they were."""
        out, err = self._streams
        try:
            out.flush()
            err.flush()
            _libc.fflush(None)
            return (os.lseek(1, 0, os.SEEK_END), os.lseek(2, 0, os.SEEK_END)) == self.at and sys.stdout is out and sys.stderr is err
        except (OSError, ValueError):
            return False

    def _restore(self) -> None:
        """The next task has its streams, whatever this one did to them."""
        sys.stdout, sys.stderr = self._streams
        for descriptor, own in zip((1, 2), self._files, strict=False):
            try:
                os.lseek(descriptor, 0, os.SEEK_CUR)
            except OSError:
                os.dup2(own, descriptor)
        if any(stream.closed for stream in self._streams):
            sys.stdout, sys.stderr = self._streams = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            _buffer_by_line()

    def take(self) -> Output | None:
        """What was written since the last call; None if that is nothing."""
        if not self._caught or self._untouched():
            return None
        self._flush()
        self._restore()
        now = self._positions()
        if now == self.at:
            return None
        before, self.at = self.at, now
        texts = [read_kept(file, start, end) for file, start, end in zip(self._files, before, now, strict=True)]
        for i, file in enumerate(self._files):
            if punch(file, self._punched[i], now[i]):
                self._punched[i] = now[i]
        return Output(*texts)


def _own(descriptor: int) -> int:
    """A descriptor of our own for the same file, which no task closes by mistake; -1 if it is no regular file."""
    try:
        return os.dup(descriptor) if stat.S_ISREG(os.fstat(descriptor).st_mode) else -1
    except OSError:
        return -1


def _buffer_by_line() -> None:
    """Lines leave this process as they are written, those of C code too."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    with suppress(ValueError):
        _libc.setvbuf(ctypes.c_void_p.in_dll(_libc, "stdout"), None, _LINE_BUFFERED, 0)
