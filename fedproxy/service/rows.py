"""What the ledger writes and reads: one class for each kind of row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from attrs import define, field, frozen

from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.messages import Done, Outcome, Output, Ran, Text
from fedproxy.protocol.states import TaskState
from fedproxy.protocol.written import HEAD_BYTES, TAIL_BYTES

_REASON_BYTES = 1000
_NAME_CHARACTERS = 200
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_decode_output = msgspec.msgpack.Decoder(Output).decode


@define
class LiveTask:
    """A task that is not terminal, as the service holds it in memory. ``payload`` is None when it is only on disk."""

    seq: int
    id: TaskId
    user: str
    group: str
    spec: bytes
    endpoint: str
    state: TaskState
    created: float
    accepted: float
    size: int
    key: str | None = None
    digest: bytes = b""
    payload: bytes | None = field(default=None, repr=False)
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    acked: bool = False
    committed: float = 0.0
    dispatched: float = 0.0
    needs: tuple[bytes, ...] = ()
    priority: int = 0
    deadline: float = 0.0
    """When it must have started: seconds since the epoch by the service's clock; 0: no matter."""
    not_before: float = 0.0
    """When the next attempt is due, by the same clock."""
    memo: bytes = b""
    recall: bytes = b""
    """A task whose result is this one's, too, if the objects that it leads to are still in their stores."""
    recalled: bytes | None = field(default=None, repr=False)
    """The value, where it is known from an earlier call."""


@frozen
class Ending:
    """A terminal state to be written."""

    task: LiveTask
    state: TaskState
    done_seq: int
    finished: float
    times: tuple[float, float, float, float]
    moved: tuple[int, int]
    body: bytes = field(repr=False)
    refs: bool = False
    ran: Ran = ("", 0.0, 0.0)
    used: tuple[float, int] = (0.0, 0)

    def done(self) -> Done:
        """What the client is told."""
        task = self.task
        stations = (task.created, task.accepted, task.committed, task.dispatched, *self.times, self.finished)
        return Done(task.id, int(self.state), len(self.body), task.attempt, stations, self.moved, ran=self.ran, used=self.used)

    def packed_times(self) -> bytes:
        """The endpoint's part of the timeline, for the ledger."""
        return _encode((self.times, self.moved, self.ran, self.task.size, self.used))


@frozen
class AttemptRow:
    """How one attempt ended, and what it wrote."""

    seq: int
    attempt: int
    state: TaskState
    finished: float
    reason: str
    worker: str
    output: bytes | None = field(repr=False)


def attempt_row(task: LiveTask, outcome: Outcome, body: bytes, now: float, written: Output | None) -> AttemptRow:
    """The row of an attempt. Where it has no value and no exception, its body is text and says why."""
    state = TaskState(outcome.state)
    texts = state not in (TaskState.SUCCEEDED, TaskState.FAILED)
    reason = outcome.reason or (body[:_REASON_BYTES].decode(errors="replace") if texts else "")
    output = outcome.output or written
    return AttemptRow(task.seq, outcome.attempt, state, now, reason[:_REASON_BYTES], outcome.ran[0][:_NAME_CHARACTERS],
                      _encode(_bounded(output)) if output is not None else None)


def _bounded(output: Output) -> Output:
    """No more than is kept, whatever the endpoint sent."""
    return Output(*(Text(t.head[:HEAD_BYTES + TAIL_BYTES], t.tail[-TAIL_BYTES:], t.size) for t in (output.out, output.err)))


def read_output(data: bytes | None) -> Output:
    """What an attempt wrote, from its row."""
    return _decode_output(data) if data else Output()


@frozen
class Account:
    """What `Ending.packed_times` holds."""

    times: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    moved: tuple[int, int] = (0, 0)
    ran: Ran = ("", 0.0, 0.0)
    size: int = 0
    """Bytes of the arguments, as they passed the service."""
    used: tuple[float, int] = (0.0, 0)


def read_account(data: bytes | None) -> Account:
    """The inverse of `Ending.packed_times`, also of those that an earlier version wrote."""
    parts: list[Any] = [tuple(part) if isinstance(part, list) else part for part in _decode(data)] if data else []
    return Account(*parts)


DONE_COLUMNS = "id, state, attempt, created, accepted, committed, dispatched, finished, times, result, done_seq"


def done_from_row(row: Sequence[object]) -> tuple[Done, bytes, int]:
    """A finished task, its body and its place in the order of endings, from `DONE_COLUMNS`."""
    task_id, state, attempt, created, accepted, committed, dispatched, finished, packed, result, done_seq = row
    account = read_account(packed)  # type: ignore[arg-type]
    body: bytes = result or b""  # type: ignore[assignment]
    stations = (created or 0.0, accepted or 0.0, committed or 0.0, dispatched or 0.0, *account.times, finished or 0.0)
    done = Done(task_id, state, len(body), attempt, stations, account.moved, ran=account.ran, used=account.used)  # type: ignore[arg-type]
    return done, body, done_seq  # type: ignore[return-value]
