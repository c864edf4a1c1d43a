"""What a worker process writes, as its engine sees it: two files, and the place where the output of the task that runs now begins.

Strategy: the files are read only when a task runs long enough to be looked at, or when its worker died; otherwise the worker tells what its task wrote.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fedproxy.config.home import PRIVATE_FILE
from fedproxy.endpoint.output import middle, punch, read_kept
from fedproxy.protocol.messages import Output, Piece
from fedproxy.protocol.written import fresh

_EPITAPH_BYTES = 4096


class Written:
    """The standard output and error of one worker process, in append-only files that only their owner reads."""

    def __init__(self, directory: Path, number: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._paths = [directory / f"worker-{number}.{name}" for name in ("out", "err")]
        self.files = [os.open(path, flags, PRIVATE_FILE) for path in self._paths]
        self._begin = [0, 0]
        self._sent = [0, 0]
        self._punched = [0, 0]

    def begins_at(self, positions: tuple[int, int]) -> None:
        """What comes from here on belongs to the next task."""
        self._begin, self._sent, self._punched = list(positions), list(positions), list(positions)

    def told(self, output: Output | None) -> None:
        """The worker told what its task wrote: the next one's output begins behind it."""
        if output is not None:
            self.begins_at((self._begin[0] + output.out.size, self._begin[1] + output.err.size))

    def pieces(self, task_id: bytes, attempt: int) -> Iterator[Piece]:
        """What the running task wrote since the last call."""
        for i, end in enumerate(self._sizes()):
            if end == self._sent[i]:
                continue
            for at, to in fresh(self._begin[i], self._sent[i], end):
                yield Piece(task_id, attempt, i + 1, at - self._begin[i], os.pread(self.files[i], to - at, at))
            self._sent[i] = end
            start, stop = middle(self._begin[i], end)
            if punch(self.files[i], max(start, self._punched[i]), stop):
                self._punched[i] = stop

    def output(self) -> Output | None:
        """All that is kept of what the running task wrote; None if it wrote nothing."""
        texts = [read_kept(file, begin, end) for file, begin, end in zip(self.files, self._begin, self._sizes(), strict=True)]
        return Output(*texts) if any(text.size for text in texts) else None

    def epitaph(self) -> str:
        """The end of what it wrote: of standard error, or else of standard output."""
        for file, begin, end in reversed(list(zip(self.files, self._begin, self._sizes(), strict=True))):
            text = os.pread(file, _EPITAPH_BYTES, max(begin, end - _EPITAPH_BYTES)).decode(errors="replace").strip()
            if text:
                return text
        return ""

    def _sizes(self) -> list[int]:
        return [os.fstat(file).st_size for file in self.files]

    def close(self) -> None:
        """The worker is gone and everything was read: remove the files. Idempotent."""
        files, self.files = self.files, []
        for file, path in zip(files, self._paths, strict=False):
            os.close(file)
            with suppress(OSError):
                path.unlink()
