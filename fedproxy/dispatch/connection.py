"""The client's connection for one task group: a thread that sends what waits, a thread that takes what is pushed.

Strategy: natural batching. While one request is under way, what is submitted queues up and goes with the next; there is no timer and no
request for a single task unless only one waits. A submit that was not acknowledged is sent again with the same ids, which the service
recognizes.
"""

from __future__ import annotations

import logging
import queue
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Any

from attrs import define, field

from fedproxy import errors
from fedproxy.dispatch.endings import settle
from fedproxy.dispatch.functions import SerializedFunction
from fedproxy.dispatch.future import TaskFuture
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import Buffer, decode, encode, split
from fedproxy.protocol.ids import new_uuid
from fedproxy.wire.rest import RestClient

log = logging.getLogger(__name__)

_BATCH_ITEMS = 2_000
_BATCH_BYTES = 8 * 1024 * 1024
_UNSENT_BYTES = 128 * 1024 * 1024
_UNSENT_ITEMS = 50_000
_ALONE_BYTES = 64 * 1024
_RETRY_FROM_S, _RETRY_MOST_S = 0.05, 2.0
_GIVE_UP_S = 300.0
_SILENCE_S = 35.0
_LENGTH = struct.Struct("<I")


@define(eq=False)
class Kind:
    """Calls of one kind: a spec and its function, sent along once."""

    hash: bytes
    encoded: bytes
    function: SerializedFunction
    endpoint_name: str
    endpoint: str
    sent: bool = False


@define(eq=False)
class Call:
    """One task on its way to the service."""

    item: m.Item
    kind: Kind
    parts: list[Buffer] = field(repr=False)
    future: TaskFuture[Any]


class _Line(Enum):
    """Who has the line to the service."""

    IDLE = "nobody"
    CLAIMED = "a caller, who is sending"
    AWAITED = "nobody, but an answer is to come"
    BUSY = "the sending thread"


_LOOK = object()
"""In the outbox: an answer is to come."""


class Connection:
    """Sends calls and settles their futures. Thread-safe."""

    def __init__(self, rest: RestClient, group: str | None = None, on_offline_endpoint: Callable[[str], None] | None = None) -> None:
        self.group = group or new_uuid()
        self._rest = rest
        self._on_offline = on_offline_endpoint
        self._outbox: queue.SimpleQueue[Call | object | None] = queue.SimpleQueue()
        self._line = rest.line("/v1/tasks")
        self._line_state = _Line.IDLE
        self._awaited: list[Call] = []
        self._futures: dict[bytes, TaskFuture[Any]] = {}
        self._lock = threading.Condition()
        self._unsent_items = 0
        self._unsent_bytes = 0
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._watched_for_idle = False
        self._cursor = 0

    # ------------------------------------------------------------ for callers

    def send(self, call: Call) -> None:
        """Queue a call. Returns at once, unless very much is waiting to be sent: then it waits for room."""
        with self._lock:
            while self._unsent_items >= _UNSENT_ITEMS or self._unsent_bytes >= _UNSENT_BYTES:
                if threading.current_thread() in self._threads:
                    break  # a callback that submits must not wait for itself
                self._lock.wait(1.0)
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._unsent_items += 1
            self._unsent_bytes += call.item.size
            self._futures[call.item.id] = call.future
            if not self._threads:
                self._start()
            claimed = self._claim(call)
        if claimed:
            self._start_alone(call)
        else:
            self._outbox.put(call)

    def _claim(self, call: Call) -> bool:
        """Whether the caller itself may send: nothing is under way, nothing waits, and the call is small."""
        if self._line_state is not _Line.IDLE or call.item.size > _ALONE_BYTES or not self._outbox.empty():
            return False
        self._line_state = _Line.CLAIMED
        return True

    def _start_alone(self, call: Call) -> None:
        """Send one call from the caller's thread, which saves the way through another; the sending thread hears the answer."""
        started = self._line.start(_encode([call], self.group, False))
        with self._lock:
            self._line_state = _Line.AWAITED if started else _Line.IDLE
            self._awaited = [call] if started else []
            self._lock.notify_all()
        self._outbox.put(_LOOK if started else call)

    def watch(self, future: TaskFuture[Any], task_id: bytes) -> None:
        """Settle ``future`` when the task of that id, which is already in this group, ends."""
        with self._lock:
            self._futures[task_id] = future
            self._cursor = 0
            if not self._threads:
                self._start()

    @property
    def pending(self) -> list[TaskFuture[Any]]:
        """Futures that have not ended."""
        return list(self._futures.values())

    def wait_idle(self) -> None:
        """Return when every future has ended and its callbacks have run."""
        self._watched_for_idle = True
        with self._lock:
            while self._futures:
                self._lock.wait(1.0)

    def close(self) -> None:
        """Take no more calls; the threads end when nothing is pending. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._outbox.put(None)
        if self._threads and not self._futures:
            self._end_stream()

    def _end_stream(self) -> None:
        """Ask the service to end the result stream, so that its thread need not wait for the next sign of life."""
        with suppress(errors.ServiceError):
            self._rest.json("POST", f"/v1/groups/{self.group}/close", timeout_s=2.0)

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait for the threads of a closed connection."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def _start(self) -> None:
        for target, name in ((self._send_forever, "fedproxy-send"), (self._receive_forever, "fedproxy-receive")):
            thread = threading.Thread(target=target, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    # ------------------------------------------------------------ sending

    def _send_forever(self) -> None:
        more = True
        while more:
            entry = self._outbox.get()
            awaited = self._take_line()
            if awaited:
                self._guarded(awaited, self._finish)
            batch, more = self._batch_from(entry)
            if batch:
                self._guarded(batch, self._deliver)
            with self._lock:
                self._line_state = _Line.IDLE

    def _take_line(self) -> list[Call]:
        """Make the line ours; returns what another thread has sent on it and nobody has heard an answer to."""
        with self._lock:
            while self._line_state is _Line.CLAIMED:
                self._lock.wait()
            awaited, self._awaited = self._awaited, []
            self._line_state = _Line.BUSY
            return awaited

    def _guarded(self, batch: list[Call], deliver: Callable[[list[Call]], None]) -> None:
        try:
            deliver(batch)
        except errors.FedproxyError as exc:
            self._refuse(batch, exc)
        except Exception as exc:  # the boundary of the thread: a defect must not leave futures hanging
            log.exception("submitting failed")
            self._refuse(batch, errors.ServiceError(f"submitting failed: {exc!r}"))
        with self._lock:
            self._unsent_items -= len(batch)
            self._unsent_bytes -= sum(call.item.size for call in batch)
            self._lock.notify_all()

    def _batch_from(self, entry: Call | object | None) -> tuple[list[Call], bool]:
        """What waits, as far as one request carries it, and whether more may come."""
        batch: list[Call] = []
        size = 0
        while entry is not None:
            if isinstance(entry, Call):
                batch.append(entry)
                size += entry.item.size
            if len(batch) >= _BATCH_ITEMS or size >= _BATCH_BYTES:
                return batch, True
            try:
                entry = self._outbox.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _finish(self, batch: list[Call]) -> None:
        """Hear the answer to what was sent; whatever is not plainly an acknowledgement goes the long way."""
        try:
            ack = _ack(self._line.finish())
        except (errors.ServiceUnavailableError, errors.ServiceFullError):
            ack = None
        if ack is None or ack.unknown:
            self._deliver(batch)
        else:
            self._acknowledged(batch, ack)

    def _deliver(self, batch: list[Call]) -> None:
        """Send one batch until it is acknowledged or refused."""
        give_up = time.monotonic() + _GIVE_UP_S
        delay = _RETRY_FROM_S
        everything = False
        while True:
            try:
                ack = _ack(self._line.post(_encode(batch, self.group, everything)))
            except (errors.ServiceUnavailableError, errors.ServiceFullError):
                if time.monotonic() > give_up or self._closed:
                    raise
                time.sleep(delay)
                delay = min(delay * 2, _RETRY_MOST_S)
                continue
            if ack.unknown and not everything:
                everything = True
                continue
            self._acknowledged(batch, ack)
            return

    def _acknowledged(self, batch: list[Call], ack: m.SubmitAck) -> None:
        for call in batch:
            call.kind.sent = True
        if ack.same_as:
            self._rename(ack.same_as)
        if ack.rejected:
            refused = {r.id: r for r in ack.rejected}
            for call in batch:
                rejected = refused.get(call.item.id)
                if rejected is not None:
                    kind = getattr(errors, rejected.error, errors.ServiceError)
                    self._refuse([call], kind(rejected.message))
        if ack.offline:
            for name, endpoint in {(call.kind.endpoint_name, call.kind.endpoint) for call in batch}:
                if endpoint in ack.offline and self._on_offline is not None:
                    self._on_offline(name)

    def _rename(self, same_as: dict[bytes, bytes]) -> None:
        renamed = False
        with self._lock:
            for mine, existing in same_as.items():
                future = self._futures.get(mine)
                if future is not None and mine != existing:
                    del self._futures[mine]
                    future._id = existing
                    self._futures[existing] = future
                    renamed = True
        if renamed:
            threading.Thread(target=self._fetch_each, args=(list(same_as.values()),), daemon=True).start()

    def _fetch_each(self, ids: list[bytes]) -> None:
        """Tasks of an earlier submit may belong to another group: wait for each by its id."""
        from fedproxy.protocol.ids import task_id_text

        for task_id in ids:
            while task_id in self._futures:
                try:
                    data = self._rest.binary("GET", f"/v1/tasks/{task_id_text(task_id)}/result")
                except errors.ServiceUnavailableError:
                    data = b""
                if data:
                    self._take(memoryview(data))
                else:
                    time.sleep(0.2)

    def _refuse(self, calls: list[Call], exc: Exception) -> None:
        for call in calls:
            future = self._forget(call.item.id)
            if future is not None and not future.done():
                future.set_exception(exc)
        with self._lock:
            self._lock.notify_all()

    def _forget(self, task_id: bytes) -> TaskFuture[Any] | None:
        return self._futures.pop(task_id, None)

    # ------------------------------------------------------------ receiving

    def _receive_forever(self) -> None:
        delay = _RETRY_FROM_S
        while not (self._closed and not self._futures):
            try:
                for message in _messages(self._rest.stream(f"/v1/groups/{self.group}/results?after={self._cursor}", silence_s=_SILENCE_S)):
                    delay = _RETRY_FROM_S
                    self._take(message)
                    if self._closed and not self._futures:
                        return
            except errors.ServiceUnavailableError as exc:
                log.debug("the result stream broke: %s", exc)
            except errors.FedproxyError as exc:
                self._fail_all(exc)
                return
            except Exception as exc:
                log.exception("the result stream failed")
                self._fail_all(errors.ServiceError(f"the result stream failed: {exc!r}"))
                return
            time.sleep(delay)
            delay = min(delay * 2, _RETRY_MOST_S)

    def _take(self, data: memoryview) -> None:
        message, body = decode(data)
        if not isinstance(message, m.Finished):
            raise errors.ProtocolError(f"expected Finished, got a {type(message).__name__}")
        for done, part in zip(message.items, split(body, (d.size for d in message.items)), strict=True):
            future = self._futures.get(done.id)
            if future is not None:
                settle(future, done, bytearray(part))  # memory of its own: aligned, writable, and not the whole batch's
                self._forget(done.id)
        self._cursor = max(self._cursor, message.cursor)
        if self._watched_for_idle and not self._futures:
            with self._lock:
                self._lock.notify_all()
        if self._closed and message.items and not self._futures:
            self._end_stream()

    def _fail_all(self, exc: Exception) -> None:
        for task_id in list(self._futures):
            future = self._forget(task_id)
            if future is not None and not future.done():
                future.set_exception(exc)
        with self._lock:
            self._lock.notify_all()


def _ack(data: bytes) -> m.SubmitAck:
    message, _ = decode(data)
    if not isinstance(message, m.SubmitAck):
        raise errors.ProtocolError(f"expected a SubmitAck, got a {type(message).__name__}")
    return message


def warn_offline(name: str) -> None:
    """Say that tasks wait."""
    warnings.warn(errors.EndpointOfflineWarning(
        f"endpoint {name!r} is offline: the task waits in the queue until it is started (`fedproxy endpoint start {name}`); on_offline='fail' raises instead"),
        stacklevel=2)


def _encode(batch: list[Call], group: str, everything: bool) -> list[Buffer]:
    specs: dict[bytes, bytes] = {}
    functions: dict[bytes, bytes] = {}
    for call in batch:
        if everything or not call.kind.sent:
            specs[call.kind.hash] = call.kind.encoded
            functions[call.kind.function.hash] = call.kind.function.body
    blobs = tuple(m.Blob(name, len(body)) for name, body in functions.items())
    message = m.Submit(group, specs, blobs, tuple(call.item for call in batch))
    return [encode(message), *functions.values(), *(part for call in batch for part in call.parts)]


def _messages(chunks: Iterator[bytes]) -> Iterator[memoryview]:
    """Cut the stream at the lengths in it."""
    buffer = bytearray()
    for chunk in chunks:
        data: bytes | bytearray = chunk
        if buffer:
            buffer += chunk
            if len(buffer) < 4 or len(buffer) < 4 + _LENGTH.unpack_from(buffer)[0]:
                continue
            data, buffer = buffer, bytearray()
        view = memoryview(data)
        at = 0
        while at + 4 <= len(view) and at + 4 + _LENGTH.unpack_from(view, at)[0] <= len(view):
            end = at + 4 + _LENGTH.unpack_from(view, at)[0]
            yield view[at + 4:end]
            at = end
        buffer += view[at:]
