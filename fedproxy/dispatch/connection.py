"""The client's connection for one task group: an outbox that sends, a thread that takes what is pushed, and the futures that wait for it."""

from __future__ import annotations

import logging
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from typing import Any

from fedproxy import errors
from fedproxy.dispatch.calls import Call
from fedproxy.dispatch.endings import end_alike, settle
from fedproxy.dispatch.future import TaskFuture
from fedproxy.dispatch.outbox import BATCH_ITEMS, Answers, Outbox
from fedproxy.dispatch.turns import Turns
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import decode, split
from fedproxy.protocol.framing import Splitter
from fedproxy.protocol.ids import new_uuid, task_id_text
from fedproxy.wire.rest import RestClient

log = logging.getLogger(__name__)

_RETRY_FROM_S, _RETRY_MOST_S = 0.05, 2.0
_FETCH_S = 0.2
_SILENCE_S = 35.0
_LENGTH = struct.Struct("<I")
_SMALL_BYTES = 512


class Connection:
    """Sends calls and settles their futures. Thread-safe."""

    def __init__(self, rest: RestClient, group: str | None = None, on_offline_endpoint: Callable[[str], None] | None = None,
                 batch_items: int = BATCH_ITEMS) -> None:
        self.group = group or new_uuid()
        self._rest = rest
        self._on_offline = on_offline_endpoint
        self._outbox = Outbox(rest, self.group, Answers(self._acknowledged, self._refuse), batch_items)
        self._futures: dict[bytes, TaskFuture[Any]] = {}
        self._lock = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._receiving = False
        self._closed = False
        self._uploading = 0
        """Calls whose data is on its way."""
        self._watched_for_idle = False
        self._cursor = 0
        self._watches = 0
        """How often `watch` was called: a stream that began before must begin anew, or what it has passed is never heard of."""
        self._turns = Turns(self._take_piece, self._enough, _SILENCE_S)
        self._splitter = Splitter(_LENGTH)

    # ------------------------------------------------------------ for callers

    def send(self, call: Call, uploads: Sequence[Future[None]] = ()) -> None:
        """Send or queue a call, after its uploads. Returns at once, unless very much is waiting to be sent: then it waits for room.

        Raises:
            RuntimeError: the connection was closed.
        """
        self._expect([call], uploading=bool(uploads))
        if uploads:
            self._send_after(call, set(uploads))
            return
        self._put([call])

    def send_all(self, calls: list[Call]) -> None:
        """The same with several, which go together.

        Raises:
            RuntimeError: the connection was closed.
        """
        self._expect(calls)
        self._put(calls)

    def _expect(self, calls: list[Call], *, uploading: bool = False) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            for call in calls:
                self._futures[call.item.id] = call.future
                call.future.turns = self._turns
                call.kind.queue.under_way += 1
                call.future.over = call.kind.queue.over
            self._uploading += uploading
            if not self._receiving:
                self._start()

    def _put(self, calls: list[Call]) -> None:
        try:
            # A callback that submits runs in one of our threads, and must not wait for itself.
            self._outbox.put(calls, may_wait=threading.current_thread() not in self._threads)
        except RuntimeError:  # closed just now, by another thread
            for call in calls:
                self._forget(call.item.id)
            raise

    def _send_after(self, call: Call, uploads: set[Future[None]]) -> None:
        def one_is_over(upload: Future[None]) -> None:
            with self._lock:
                if upload not in uploads:
                    return  # another has failed before
                uploads.remove(upload)
                failed = CancelledError() if upload.cancelled() else upload.exception()
                if failed is not None:
                    uploads.clear()
                if uploads:
                    return
            if failed is None:
                self._outbox.put([call], may_wait=False)
            else:
                self._refuse([call], failed if isinstance(failed, errors.FedproxyError) else errors.TransferError(f"what it needs was not sent: {failed!r}"))
            with self._lock:
                self._uploading -= 1
                self._lock.notify_all()
                last = self._closed and not self._uploading
            if last:
                self._outbox.close()

        for upload in list(uploads):
            upload.add_done_callback(one_is_over)

    def watch(self, ids: Iterable[bytes], make: Callable[[bytes], TaskFuture[Any]]) -> list[TaskFuture[Any]]:
        """Futures of tasks that are already in this group: those that wait here already, and new ones, which are settled when the tasks end, or have ended:
        the results are asked for from the first."""
        with self._lock:
            running = self._receiving
            futures = [self._futures.get(task_id) or make(task_id) for task_id in ids]
            for future in futures:
                self._futures[future.raw_id] = future
                future.turns = self._turns
            self._watches += 1
            if not running:
                self._start()
        if running:
            self._turns.begin_anew()
        return futures

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

    def flush(self) -> None:
        """Return when all calls have been acknowledged by the service, or refused."""
        with self._lock:
            while self._uploading > 0:
                self._lock.wait(1.0)
        self._outbox.flush()

    def close(self) -> None:
        """Take no more calls; the threads end when nothing is pending. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            uploading = self._uploading > 0
        if not uploading:  # else it closes behind the last of them
            self._outbox.close()
        if self._threads and not self._futures:
            self._end_stream()

    def _end_stream(self) -> None:
        """See to it that the receiving thread need not wait for the next sign of life."""
        self._turns.poke()
        if self._turns.shared:
            return
        with suppress(errors.ServiceError):
            self._rest.json("POST", f"/v1/groups/{self.group}/close", timeout_s=2.0)

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait for the threads of a closed connection."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def _start(self) -> None:
        """Start what does not run: both threads, or the receiving one that an error has ended. Under the lock."""
        self._receiving = True
        sender = [] if self._threads else [(self._outbox.run, "fedproxy-send")]
        for target, name in [*sender, (self._receive, "fedproxy-receive")]:
            thread = threading.Thread(target=target, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    # ------------------------------------------------------------ answers to what was sent

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
                    try:
                        self._on_offline(name)
                    except errors.EndpointOfflineWarning as exc:  # warnings are errors in this process; the tasks are accepted all the same
                        log.warning("%s", exc)

    def _rename(self, same_as: dict[bytes, bytes]) -> None:
        """These calls are tasks of earlier submits."""
        fetched: list[bytes] = []
        followers: list[tuple[TaskFuture[Any], bytes, TaskFuture[Any]]] = []
        with self._lock:
            for mine, existing in same_as.items():
                future = self._futures.get(mine)
                if future is None or mine == existing:
                    continue
                future.is_of(existing)
                first = self._futures.get(existing)
                if first is not None:
                    followers.append((first, mine, future))
                else:
                    self._futures[existing] = self._futures.pop(mine)
                    fetched.append(existing)
        for first, mine, future in followers:
            first.add_done_callback(partial(self._follow, mine, future))
        if fetched:
            threading.Thread(target=self._fetch_each, args=(fetched,), name="fedproxy-fetch", daemon=True).start()

    def _follow(self, mine: bytes, future: TaskFuture[Any], first: Future[Any]) -> None:
        end_alike(future, first)
        self._settled(mine)

    def _fetch_each(self, ids: list[bytes]) -> None:
        """Tasks of an earlier submit may belong to another group: wait for each by its id. The stream may tell of them, too: whoever is first counts."""
        for task_id in ids:
            while (future := self._futures.get(task_id)) is not None:
                try:
                    data = self._rest.binary("GET", f"/v1/tasks/{task_id_text(task_id)}/result")
                    for done, body in _read(memoryview(data))[1] if data else ():
                        settle(future, done, body)
                except errors.ServiceUnavailableError as exc:
                    log.debug("waiting for %s: %s", future.task_id, exc)
                except errors.FedproxyError as exc:
                    future.fail(exc)
                if future.done():
                    self._settled(task_id)
                else:
                    time.sleep(_FETCH_S)
        self._rest.release()

    def _refuse(self, calls: list[Call], exc: Exception) -> None:
        self._fail([call.item.id for call in calls], exc)

    def _fail(self, ids: Iterable[bytes], exc: Exception) -> None:
        for task_id in ids:
            future = self._futures.get(task_id)
            if future is not None:
                future.fail(exc)
                self._forget(task_id)  # its callbacks have run
        with self._lock:
            self._lock.notify_all()

    def _forget(self, task_id: bytes) -> TaskFuture[Any] | None:
        future = self._futures.pop(task_id, None)
        if future is not None and future.over is not None:
            with self._lock:
                future.over(time.monotonic())
        return future

    # ------------------------------------------------------------ receiving

    def _receive(self) -> None:
        failure: Exception | None = None
        try:
            failure = self._receive_forever()
        finally:
            self._turns.close()
            self._rest.release()
            with self._lock:
                self._receiving = False  # what is sent from here on has another thread to hear of it
                unheard = list(self._futures)
            if failure is not None:
                self._fail(unheard, failure)

    def _receive_forever(self) -> Exception | None:
        """Returns when there is `_enough`, or why nothing more can be heard."""
        delay, watches = _RETRY_FROM_S, 0
        while not self._enough():
            if watches != self._watches:
                watches, self._cursor = self._watches, 0
            try:
                stream = self._rest.stream(f"/v1/groups/{self.group}/results?after={self._cursor}", silence_s=_SILENCE_S)
                self._splitter = Splitter(_LENGTH)
                delay = _RETRY_FROM_S
                self._turns.receive(stream)
                break
            except (OSError, errors.ServiceUnavailableError) as exc:
                log.debug("the result stream broke: %s", exc)
            except errors.FedproxyError as exc:
                return exc
            except Exception as exc:
                log.exception("the result stream failed")
                return errors.ServiceError(f"the result stream failed: {exc!r}")
            time.sleep(delay)
            delay = min(delay * 2, _RETRY_MOST_S)
        return None

    def _enough(self) -> bool:
        """Whether nothing more is expected."""
        return self._closed and not self._futures

    def _take_piece(self, piece: memoryview) -> None:
        for message in self._splitter.feed(piece):
            self._take(message)

    def _take(self, data: memoryview) -> None:
        message, endings = _read(data)
        for done, body in endings:
            future = self._futures.get(done.id)
            if future is not None:
                settle(future, done, body)
                if future.has_callbacks:  # they have not run yet
                    self._turns.defer(partial(self._settled, done.id))
                else:
                    self._forget(done.id)
        self._cursor = max(self._cursor, message.cursor)
        self._tell_idle()

    def _settled(self, task_id: bytes) -> None:
        self._forget(task_id)
        self._tell_idle()

    def _tell_idle(self) -> None:
        if self._watched_for_idle and not self._futures:
            with self._lock:
                self._lock.notify_all()


def _read(data: memoryview) -> tuple[m.Finished, Iterator[tuple[m.Done, bytes | bytearray]]]:
    message, body = decode(data)
    if not isinstance(message, m.Finished):
        raise errors.ProtocolError(f"expected Finished, got a {type(message).__name__}")
    parts = split(body, (done.size for done in message.items))
    return message, ((done, _own(part)) for done, part in zip(message.items, parts, strict=True))


def _own(part: memoryview) -> bytes | bytearray:
    """Memory of its own: not the whole batch's; what may hold an array is aligned and writable."""
    return bytes(part) if len(part) <= _SMALL_BYTES else bytearray(part)


def warn_offline(name: str) -> None:
    """Say that tasks wait."""
    warnings.warn(errors.EndpointOfflineWarning(
        f"endpoint {name!r} is offline: the task waits in the queue until it is started (`fedproxy endpoint start {name}`); on_offline='fail' raises instead"),
        stacklevel=2)
