"""Sending calls: one thread, one line to the service, batches that grow by themselves.

Strategy: natural batching. While one request is under way, what is submitted queues up and goes with the next; there is no timer and no request
for a single task unless only one waits. A lone call is sent by its caller, which saves the way through the thread; the answer is heard by the next
caller, or by the thread, which looks for answers now and then while there are calls (to wake it for each would cost a lone task a twentieth of its time).
A batch that was not acknowledged is sent again with the same ids, which the service recognizes.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from enum import Enum

from attrs import frozen

from fedproxy import errors
from fedproxy.dispatch.calls import Call, encode_batch
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import decode
from fedproxy.wire.rest import RestClient

log = logging.getLogger(__name__)

BATCH_ITEMS = 2_000
_BATCH_BYTES = 8 * 1024 * 1024
_UNSENT_BYTES = 128 * 1024 * 1024
_UNSENT_ITEMS = 50_000
_ALONE_BYTES = 64 * 1024
_RETRY_FROM_S, _RETRY_MOST_S = 0.05, 2.0
_GIVE_UP_S = 300.0
_LOOK_S, _STAY_S = 0.02, 1.0
"""While lone calls go out, the sending thread looks so often for answers; it sleeps after so long without any."""


class _Line(Enum):
    """Who has the line to the service."""

    IDLE = "nobody"
    CLAIMED = "a caller, who is sending"
    AWAITED = "nobody, but an answer is to come"
    BUSY = "the sending thread"


_LOOK = object()
"""In the queue: hear the answer that is to come."""


@frozen
class Answers:
    """Called by the sending thread."""

    acknowledged: Callable[[list[Call], m.SubmitAck], None]
    refused: Callable[[list[Call], Exception], None]


class Outbox:
    """What waits to be sent to one task group. Thread-safe."""

    def __init__(self, rest: RestClient, group: str, answers: Answers, batch_items: int = BATCH_ITEMS) -> None:
        self._group, self._answers, self._batch_items = group, answers, batch_items
        self._queue: queue.SimpleQueue[Call | list[Call] | object | None] = queue.SimpleQueue()
        self._line = rest.line("/v1/tasks")
        self._state = _Line.IDLE
        self._awaited: list[Call] = []
        self._sent_at = 0.0
        """When a caller last sent."""
        self._looking = False
        """Whether the thread will look for the answer without being told."""
        self._changed = threading.Condition()
        self._items = 0
        self._bytes = 0
        self._closed = False

    def put(self, calls: list[Call], *, may_wait: bool) -> None:
        """Send calls that belong together, or queue them. Returns at once, unless very much is waiting and ``may_wait``: then it waits for room.

        Raises:
            RuntimeError: it was closed.
        """
        size = sum(call.item.size for call in calls)
        with self._changed:
            while may_wait and (self._items >= _UNSENT_ITEMS or self._bytes >= _UNSENT_BYTES):
                self._changed.wait(1.0)
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._items += len(calls)
            self._bytes += size
            alone = ((self._state is _Line.IDLE or self._state is _Line.AWAITED) and self._queue.empty() and size <= _ALONE_BYTES
                     and len(calls) <= self._batch_items and not calls[0].gather_s and (self._state is _Line.IDLE or self._line.answered()))
            if alone:
                self._state = _Line.CLAIMED
                awaited, self._awaited = self._awaited, []
        if alone:
            self._send_alone(calls, awaited)
        else:
            for call in calls:
                self._queue.put(call)

    def _hear(self, awaited: list[Call]) -> None:
        """Hear the answer that has come to a lone call. Anything but a plain acknowledgement is left to the thread, which asks again."""
        plain = False
        try:
            plain = not self._line.finish()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the thread asks again and reports it
            log.debug("the answer to a lone call: %s", exc)
        finally:
            if not plain:
                self._queue.put(awaited)
        if plain:
            self._answers.acknowledged(awaited, m.SubmitAck())
            with self._changed:
                self._forget(awaited)

    def _send_alone(self, calls: list[Call], awaited: list[Call]) -> None:
        """Send calls; what has been answered to the one before is heard then, while the service works."""
        started = False
        try:
            started = self._line.start(encode_batch(calls, self._group))
        finally:
            if awaited:
                self._hear(awaited)
            with self._changed:
                self._state = _Line.AWAITED if started else _Line.IDLE
                self._awaited = calls if started else []
                self._sent_at = time.monotonic()
                self._changed.notify_all()
                looking, self._looking = self._looking, True
            if not started:
                self._queue.put(calls)
            elif not looking:
                self._queue.put(_LOOK)

    def flush(self) -> None:
        """Return when all that was put has been acknowledged or refused."""
        self._queue.put(_LOOK)
        with self._changed:
            while self._items:
                self._changed.wait(1.0)

    def close(self) -> None:
        """The thread ends when it has sent what is queued."""
        with self._changed:
            self._closed = True
        self._queue.put(None)

    def run(self) -> None:
        """The sending thread."""
        ended = False
        while not ended or self._items:  # what was let in before the end comes behind it
            # Nothing that was sent is held while the thread waits: with its future, a large result would stay in its store.
            ended = not self._send_some() or ended
        self._line.close()

    def _send_some(self) -> bool:
        """Send what waits, as far as one request carries it, or wait for something. False: this is the end."""
        entry = self._next()
        if isinstance(entry, Call) and not self._closed and (gather_s := entry.gather_s):
            time.sleep(gather_s)
        awaited = self._take_line()
        if awaited:
            self._guarded(awaited, self._finish)
        batch, more = self._batch_from(entry)
        for part in apart(batch):
            self._guarded(part, self._deliver)
        with self._changed:
            self._state = _Line.IDLE
        return more

    def _next(self) -> Call | list[Call] | object | None:
        """What is to be done next."""
        while True:
            try:
                return self._queue.get(timeout=_LOOK_S if self._looking or self._closed else None)
            except queue.Empty:
                with self._changed:
                    quiet_s = time.monotonic() - self._sent_at
                    if self._closed or (self._state is _Line.AWAITED and quiet_s >= _LOOK_S):
                        return _LOOK
                    self._looking = quiet_s < _STAY_S or self._state in (_Line.AWAITED, _Line.CLAIMED)

    def _take_line(self) -> list[Call]:
        """Make the line ours; returns what a caller has sent on it and nobody has heard an answer to."""
        with self._changed:
            while self._state is _Line.CLAIMED:
                self._changed.wait()
            awaited, self._awaited = self._awaited, []
            self._state = _Line.BUSY
            return awaited

    def _guarded(self, batch: list[Call], deliver: Callable[[list[Call]], None]) -> None:
        try:
            deliver(batch)
        except errors.FedproxyError as exc:
            self._answers.refused(batch, exc)
        except Exception as exc:  # the boundary of the thread: a defect must not leave futures hanging
            log.exception("submitting failed")
            self._answers.refused(batch, errors.ServiceError(f"submitting failed: {exc!r}"))
        with self._changed:
            self._forget(batch)

    def _forget(self, batch: list[Call]) -> None:
        """These have been answered. Under the lock."""
        self._items -= len(batch)
        self._bytes -= sum(call.item.size for call in batch)
        self._changed.notify_all()

    def _batch_from(self, entry: Call | list[Call] | object | None) -> tuple[list[Call], bool]:
        """What waits, as far as one request carries it, and whether more may come."""
        batch: list[Call] = []
        size = 0
        while entry is not None:
            calls = entry if isinstance(entry, list) else [entry] if isinstance(entry, Call) else []
            batch += calls
            size += sum(call.item.size for call in calls)
            if len(batch) >= self._batch_items or size >= _BATCH_BYTES:
                return batch, True
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _finish(self, batch: list[Call]) -> None:
        """Hear the answer to what a caller sent; whatever is not plainly an acknowledgement goes the long way."""
        try:
            ack = _read_ack(self._line.finish())
        except (errors.ServiceUnavailableError, errors.ServiceFullError):
            ack = None
        if ack is None or ack.unknown:
            self._deliver(batch)
        else:
            self._answers.acknowledged(batch, ack)

    def _deliver(self, batch: list[Call]) -> None:
        """Send one batch until it is acknowledged or refused."""
        give_up = time.monotonic() + _GIVE_UP_S
        delay = _RETRY_FROM_S
        everything = False
        while True:
            try:
                ack = _read_ack(self._line.post(encode_batch(batch, self._group, everything=everything)))
            except errors.ServiceBusyError as exc:
                # It is alive and says when: what is submitted meanwhile waits here, and beyond a bound in the caller.
                time.sleep(exc.retry_after_s * (1 + random.random()))  # noqa: S311 - spreads those who were sent away together
                give_up = time.monotonic() + _GIVE_UP_S
                continue
            except (errors.ServiceUnavailableError, errors.ServiceFullError):
                if time.monotonic() > give_up or self._closed:
                    raise
                time.sleep(delay)
                delay = min(delay * 2, _RETRY_MOST_S)
                continue
            if ack.unknown and not everything:
                everything = True
                continue
            self._answers.acknowledged(batch, ack)
            return


def apart(batch: list[Call]) -> list[list[Call]]:
    """The same calls in their order, in batches that name no idempotency key twice: the second is to be told which task the first became."""
    parts: list[list[Call]] = []
    keys: set[str] = set()
    for call in batch:
        key = call.item.key
        if not parts or key in keys:
            parts.append([])
            keys.clear()
        if key is not None:
            keys.add(key)
        parts[-1].append(call)
    return parts


def _read_ack(data: bytes) -> m.SubmitAck:
    if not data:
        return m.SubmitAck()
    message, _ = decode(data)
    if not isinstance(message, m.SubmitAck):
        raise errors.ProtocolError(f"expected a SubmitAck, got a {type(message).__name__}")
    return message
