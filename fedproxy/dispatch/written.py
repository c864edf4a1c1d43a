"""What a task wrote, as its user sees it."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterator

from attrs import frozen

from fedproxy.protocol.messages import TaskOutput, Text
from fedproxy.protocol.states import TaskState
from fedproxy.protocol.written import missing

_LOOK_S = 0.2


@frozen
class TaskLogs:
    """What a task wrote to standard output and standard error in its last attempt, also from C code and programs that it started.

    Of each stream the first and the last 32 KiB are kept; where something is missing between them, a line says how much.
    """

    stdout: str
    stderr: str
    attempt: int
    truncated: bool
    live: bool
    """The task has not ended: there may be more."""

    def __str__(self) -> str:
        return self.stdout + self.stderr


def logs_of(output: TaskOutput) -> TaskLogs:
    """The text of a message."""
    out, err = output.output.out, output.output.err
    return TaskLogs(shown(out), shown(err), output.attempt, bool(missing(out) or missing(err)), not TaskState(output.state).terminal)


def shown(text: Text) -> str:
    """A stream as text, with a line where its middle is missing."""
    gone = missing(text)
    gap = f"\n[... {gone:,} bytes are not kept ...]\n" if gone else ""
    if not gone:
        return (text.head + text.tail).decode(errors="replace")
    return text.head.decode(errors="replace") + gap + text.tail.decode(errors="replace")


def follow(fetch: Callable[[], TaskOutput]) -> Iterator[tuple[str, str]]:
    """(``stdout`` or ``stderr``, text) as the task writes, until it has ended. A new attempt begins again."""
    readers = _readers(-1)
    while True:
        output = fetch()
        if output.attempt != readers[0].attempt:
            readers = _readers(output.attempt)
        for reader, name, text in zip(readers, ("stdout", "stderr"), (output.output.out, output.output.err), strict=True):
            more = reader.more(text, final=TaskState(output.state).terminal)
            if more:
                yield name, more
        if TaskState(output.state).terminal:
            return
        time.sleep(_LOOK_S)


class _Reader:
    """How far one stream was read."""

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self._at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def more(self, text: Text, *, final: bool) -> str:
        begin_of_tail = text.size - len(text.tail)
        found = self._decoder.decode(text.head[self._at:])
        at = max(self._at, len(text.head))
        if text.size > at:
            if begin_of_tail > at:
                found += f"\n[... {begin_of_tail - at:,} bytes are not kept ...]\n"
            found += self._decoder.decode(text.tail[max(0, at - begin_of_tail):])
        self._at = max(self._at, text.size)
        return found + (self._decoder.decode(b"", True) if final else "")


def _readers(attempt: int) -> tuple[_Reader, _Reader]:
    return _Reader(attempt), _Reader(attempt)
