"""Who reads the result stream: the receiving thread, or whoever waits for a result.

Strategy: leader and follower. A thread that waits for a result alone reads the stream itself, which saves the way through another thread (a wake-up costs as
much as the rest of the work). The receiving thread then stands by: it takes over when nobody has read for a few milliseconds, and at once when several wait.
Callbacks of futures always run in the receiving thread, never in one that happened to read, and while nobody is held up by them: they may wait for other
results themselves.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

from fedproxy.wire.rest import Stream

_LOOK_S = 0.01
_ANEW = "the stream is to begin anew"


class Turns:
    """One for each connection. ``take`` is called with each piece of the stream, by the thread whose turn it is; ``enough`` says when no more is wanted."""

    def __init__(self, take: Callable[[memoryview], None], enough: Callable[[], bool], silence_s: float) -> None:
        self._take, self._enough, self._silence_s = take, enough, silence_s
        self._turn = threading.Lock()
        self._state = threading.Lock()
        self._stream: Stream | None = None
        self._stale = False
        """The stream is to begin anew."""
        self._arrivals, self._arrivals_or_wakes = select.poll(), select.poll()
        self._broken: BaseException | None = None
        self._heard = 0.0
        self._reader: int | None = None
        self._leader: int | None = None
        self._leads = 0
        self._behind = 0
        """Threads that wait for a result and do not read."""
        self._resume = threading.Event()
        self._deferred: deque[Callable[[], None]] = deque()
        self._wake: tuple[int, int] | None = None

    # ------------------------------------------------------------ the receiving thread

    def receive(self, stream: Stream) -> None:
        """Read ``stream``, or see to it that others do, until there is `enough`. Closes it.

        Raises:
            OSError, FedproxyError: the stream broke.
        """
        try:
            self._begin(stream)
            while not self._enough():
                with self._turn:
                    self._read_unless_led()
                self._run_deferred()
                if self._leader is not None:
                    self._stand_by()
        finally:
            with self._turn, self._state:
                self._stream, self._stale = None, False
            stream.close()
            self._run_deferred()

    def _begin(self, stream: Stream) -> None:
        self._broken = None
        self._heard = time.monotonic()
        self._arrivals, self._arrivals_or_wakes = select.poll(), select.poll()
        if self._wake is None:
            self._wake = os.pipe()
            for descriptor in self._wake:
                os.set_blocking(descriptor, False)
        self._arrivals_or_wakes.register(self._wake[0], select.POLLIN)
        if stream.shared:
            self._arrivals.register(stream.fileno(), select.POLLIN)
            self._arrivals_or_wakes.register(stream.fileno(), select.POLLIN)
        with self._state:
            if self._stale:
                raise ConnectionResetError(_ANEW)
            self._stream = stream

    def _read_unless_led(self) -> None:
        self._drain_wakes()
        if self._broken is not None:
            raise self._broken
        # What somebody wants is said before the wake-up is sent: looked at after the draining, none is missed.
        if self._leader is None and not self._deferred and not self._enough():
            self._read(self._arrivals_or_wakes, self._silence_s)

    def _stand_by(self) -> None:
        """Return when nobody else reads, or nobody who could."""
        while True:
            leads = self._leads
            asked = self._resume.wait(_LOOK_S)
            self._resume.clear()
            self._run_deferred()
            if self._broken is not None or self._enough():
                return
            if self._leader is None and (asked or leads == self._leads):
                return

    def _run_deferred(self) -> None:
        while self._deferred:
            self._deferred.popleft()()

    def _drain_wakes(self) -> None:
        if self._wake is not None:
            with suppress(BlockingIOError):
                os.read(self._wake[0], 4096)

    @property
    def shared(self) -> bool:
        """Whether `poke` reaches a thread that reads."""
        return self._stream is None or self._stream.shared

    def poke(self) -> None:
        """Let the receiving thread look whether there is `enough`."""
        self._resume.set()
        with self._state, suppress(BlockingIOError):
            if self._wake is not None:
                os.write(self._wake[1], b"!")

    def begin_anew(self) -> None:
        """Break the stream off, or the one that is just being opened: `receive` raises, whoever reads."""
        with self._state:
            self._stale = True
            if self._stream is not None:
                self._stream.interrupt()

    def close(self) -> None:
        """The receiving thread has ended. Idempotent."""
        with self._state:
            wake, self._wake = self._wake, None
        for descriptor in wake or ():
            os.close(descriptor)

    # ------------------------------------------------------------ threads that wait for a result

    def wait(self, future: Future[Any], timeout_s: float | None) -> None:
        """Return when ``future`` has ended, or after ``timeout_s``."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if self._claim():
            try:
                with self._turn:
                    self._lead(future, deadline)
            finally:
                self._leave()
        if not future.done():
            self._wait_behind(future, deadline)

    def _claim(self) -> bool:
        with self._state:
            free = self._leader is None and not self._behind and self._broken is None
            if not free or self._stream is None or not self._stream.shared:
                return False
            self._leader = threading.get_ident()
            self._leads += 1
        if self._turn.locked():
            self.poke()
        return True

    def _leave(self) -> None:
        with self._state:
            self._leader = None
            others = self._behind
        if others or self._deferred or self._broken is not None or self._enough():
            self._resume.set()

    def _lead(self, future: Future[Any], deadline: float | None) -> None:
        """Read until the future has ended."""
        try:
            while not future.done() and self._stream is not None and self._broken is None:
                left_s = self._silence_s if deadline is None else deadline - time.monotonic()
                if left_s <= 0:
                    return
                self._read(self._arrivals, left_s)
        except Exception as exc:  # noqa: BLE001 - the receiving thread is told, and decides
            self._broken = exc
        except BaseException:
            # Ctrl-C, anywhere: what was read and not yet taken comes again with the next stream.
            self._broken = ConnectionResetError("whoever read the stream was interrupted")
            raise

    def _wait_behind(self, future: Future[Any], deadline: float | None) -> None:
        with self._state:
            self._behind += 1
            nobody = self._leader is None
        if nobody:
            self._resume.set()
        try:
            with suppress(TimeoutError, CancelledError):
                Future.exception(future, None if deadline is None else max(0.0, deadline - time.monotonic()))
        finally:
            with self._state:
                self._behind -= 1

    # ------------------------------------------------------------ whoever reads

    def _read(self, poller: select.poll, timeout_s: float) -> None:
        """Wait for something to come and take it; or be woken."""
        assert self._stream is not None
        if self._stream.shared and not self._stream.pending():
            ready = poller.poll(1e3 * min(timeout_s, self._silence_s))
            if not ready and time.monotonic() - self._heard > self._silence_s:
                raise TimeoutError("the service has been silent")
            if all(descriptor != self._stream.fileno() for descriptor, _ in ready):
                return
        self._reader = threading.get_ident()
        try:
            for piece in self._stream.read():
                self._take(piece)
        finally:
            self._reader = None
        self._heard = time.monotonic()

    def reading(self) -> bool:
        """Whether the calling thread is just taking what came."""
        return self._reader == threading.get_ident()

    def defer(self, action: Callable[[], None]) -> None:
        """Let the receiving thread do this."""
        self._deferred.append(action)
        self._resume.set()
