"""The agent's memory on disk: what it was sent, what it handed to a worker, what came out, what the service has confirmed.

Strategy: an append-only file of checksummed records. Each record is handed to the kernel before what it announces happens, so a killed agent forgets nothing;
flushing to the disk overlaps with the work and is shared by all that waits for it. A torn record at the end is ignored. On a full disk nothing new is
taken; that a worker gets a task can still be written, from a reserve; what is only known again later (a result, which the service gets all the same, and
that it has it) goes without.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from itertools import chain
from pathlib import Path

from attrs import define, field, frozen
from msgspec.structs import replace

from fedproxy.config.home import PRIVATE_FILE
from fedproxy.config.reserve import Reserve
from fedproxy.errors import ProtocolError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import Buffer, decode, encode, split
from fedproxy.protocol.ids import TaskId

log = logging.getLogger(__name__)

_HEAD = struct.Struct("<IQB")  # CRC-32 of the rest, length of the payload, kind
_ID = 16
_SHRINK_BYTES = 64 * 1024 * 1024
_RESERVE_BYTES = 1024 * 1024


class Kind(IntEnum):
    """What a record says."""

    RECEIVED = 1
    """A `Tasks` message."""
    HANDED = 2
    """Task ids: a worker may start them from here on."""
    FINISHED = 3
    """A `Results` message."""
    SETTLED = 4
    """Task ids: the service has them, or wants them no more."""


_KINDS = frozenset(Kind)


@define
class Held:
    """A task that the agent answers for. ``payload`` is dropped once a worker has it; ``outcome`` and ``body`` are there when it has ended."""

    task: m.Task
    payload: bytes | None = field(default=None, repr=False)
    handed: bool = False
    outcome: m.Outcome | None = None
    body: bytes = field(default=b"", repr=False)


@frozen
class Record:
    """One record as read back."""

    kind: Kind
    payload: memoryview


def read_records(data: Buffer) -> Iterator[Record]:
    """The records of a journal up to the first that is torn or corrupt."""
    view = memoryview(data)
    at = 0
    while at + _HEAD.size <= len(view):
        crc, length, kind = _HEAD.unpack_from(view, at)
        end = at + _HEAD.size + length
        if end > len(view) or zlib.crc32(view[at + 4:end]) != crc or kind not in _KINDS:
            return
        yield Record(Kind(kind), view[at + _HEAD.size:end])
        at = end


def replay(data: Buffer) -> dict[TaskId, Held]:
    """What an agent with this journal still answers for."""
    held: dict[TaskId, Held] = {}
    for record in read_records(data):
        if record.kind in (Kind.HANDED, Kind.SETTLED):
            ids = [TaskId(bytes(record.payload[i:i + _ID])) for i in range(0, len(record.payload), _ID)]
            for task_id in ids:
                if record.kind is Kind.SETTLED:
                    held.pop(task_id, None)
                elif task_id in held:
                    held[task_id].handed = True
        else:
            _replay_message(held, record)
    return held


def _replay_message(held: dict[TaskId, Held], record: Record) -> None:
    try:
        message, body = decode(record.payload)
    except ProtocolError:
        return  # written by a version that this one does not understand; the service will find these tasks missing
    if isinstance(message, m.Tasks):
        skip = sum(blob.size for blob in message.functions)
        for task, part in zip(message.items, split(body[skip:], (t.size for t in message.items)), strict=True):
            held[TaskId(task.id)] = Held(task, bytes(part))
    elif isinstance(message, m.Results):
        for outcome, part in zip(message.items, split(body, (o.size for o in message.items)), strict=True):
            entry = held.get(TaskId(outcome.id))
            if entry is not None:
                entry.outcome, entry.body, entry.payload = outcome, bytes(part), None


def _record(kind: Kind, parts: Sequence[Buffer]) -> bytes:
    rest = _HEAD.pack(0, sum(map(len, parts)), kind)[4:]
    crc = zlib.crc32(rest)
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join((struct.pack("<I", crc), rest, *parts))


def _records_of(entry: Held) -> Iterator[bytes]:
    payload = entry.payload or b""
    task = replace(entry.task, size=len(payload))
    yield _record(Kind.RECEIVED, [encode(m.Tasks({}, (), (task,))), payload])
    if entry.handed:
        yield _record(Kind.HANDED, [task.id])
    if entry.outcome is not None:
        yield _record(Kind.FINISHED, [encode(m.Results((entry.outcome,))), entry.body])


def _write(file: int, record: bytes) -> None:
    written = os.write(file, record)
    while written < len(record):
        written += os.write(file, memoryview(record)[written:])


class Journal:
    """One file. ``recovered`` is what it held when it was opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(1, "fedproxy-journal")
        self.recovered = replay(path.read_bytes()) if path.exists() else {}
        self._file = -1
        self._size = 0
        self._waiting: list[Callable[[], object]] = []
        self._flushing = False
        self._reserve = Reserve(path.with_suffix(".reserve"), _RESERVE_BYTES)
        self.rewrite(self.recovered.values())

    @property
    def wants_rewrite(self) -> bool:
        """Whether the file has grown enough that `rewrite` pays."""
        return self._size > _SHRINK_BYTES

    @property
    def takes(self) -> bool:
        """Whether tasks can be taken: there is room for what follows from them."""
        return self._reserve.held or self._reserve.take()

    def received(self, parts: Sequence[Buffer]) -> None:
        """Tasks have arrived: the parts of a `Tasks` message.

        Raises:
            OSError: the disk takes nothing new; nothing was written.
        """
        if not self.takes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._append(_record(Kind.RECEIVED, parts))

    def handed(self, ids: Sequence[bytes]) -> None:
        """Workers get these tasks now.

        Raises:
            OSError: the disk is full, and the reserve used up.
        """
        record = _record(Kind.HANDED, [b"".join(ids)])
        try:
            self._append(record)
        except OSError:
            if not self._reserve.held:
                raise
            self._reserve.give_up()
            self._append(record)

    def finished(self, parts: Sequence[Buffer]) -> None:
        """Attempts have ended: the parts of a `Results` message."""
        self._append_if_possible(_record(Kind.FINISHED, parts))

    def settled(self, ids: Sequence[bytes]) -> None:
        """The service has confirmed these."""
        self._append_if_possible(_record(Kind.SETTLED, [b"".join(ids)]))

    def flush_then(self, callback: Callable[[], object]) -> None:
        """Call back (on the loop) when everything appended up to now is on the disk."""
        self._waiting.append(callback)
        if not self._flushing:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._flushing = True
        flushed = asyncio.get_running_loop().run_in_executor(self._pool, os.fdatasync, self._file)
        flushed.add_done_callback(lambda done: self._flushed(waiting, done))

    def _flushed(self, waiting: list[Callable[[], object]], done: asyncio.Future[None]) -> None:
        self._flushing = False
        if done.cancelled() or done.exception() is not None:
            return  # a disk that cannot flush: nothing is acknowledged, the service keeps counting it as unconfirmed
        for callback in waiting:
            callback()
        if self._waiting:
            self._flush()

    def _append(self, record: bytes) -> None:
        try:
            _write(self._file, record)
        except OSError:
            os.ftruncate(self._file, self._size)  # whoever reads it would stop at half a record, and miss what comes behind
            raise
        self._size += len(record)

    def _append_if_possible(self, record: bytes) -> None:
        try:
            self._append(record)
        except OSError as exc:
            log.warning("cannot write to %s: %s", self._path, exc)

    def rewrite(self, held: Iterable[Held]) -> None:
        """Keep only what is still answered for. The new file replaces the old one in one step.

        Raises:
            OSError: the disk is full; the old file is still there, and in use.
        """
        temporary = self._path.with_suffix(".new")
        new = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
        size = 0
        try:
            for record in chain.from_iterable(map(_records_of, held)):
                _write(new, record)
                size += len(record)
            os.fdatasync(new)
            os.replace(temporary, self._path)
        except OSError:
            os.close(new)
            os.unlink(temporary)
            raise
        old, self._file, self._size = self._file, new, size
        if old >= 0:
            self._pool.submit(os.close, old)  # behind a flush of it that may be under way

    def close(self) -> None:
        """Flush and close. Idempotent."""
        if self._file >= 0:
            self._pool.shutdown(wait=True)
            os.fdatasync(self._file)
            os.close(self._file)
            self._file = -1
