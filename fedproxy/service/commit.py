"""Group commit: all that asks to be made durable while one commit is under way goes with the next.

Strategy: natural batching; nobody who waits is held up by a timer. A writer thread holds the database; the loop's thread collects the next
transaction meanwhile. An idle service commits at once, a busy one commits more at a time.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable

from attrs import define, field

from fedproxy.errors import FedproxyError, ServiceFullError
from fedproxy.protocol.flow import smoothed
from fedproxy.service.ledger import Ledger, Transaction

log = logging.getLogger(__name__)

Duplicates = dict[int, tuple[bytes, bytes]]
InsertDone = Callable[[Duplicates | FedproxyError], None]
_RETRY_S = 0.5
_SOON_S = 0.002
_FEW = 4
_FAST_S = 0.001


@define
class _Batch:
    work: Transaction = field(factory=Transaction)
    inserted: list[InsertDone] = field(factory=list)
    after: list[Callable[[], None]] = field(factory=list)


def worth_a_thread(inserts: int, commit_s: float | None) -> bool:
    """Whether a commit goes to the writer thread.

    Two wake-ups across cores take as long as a small commit on a fast disk: such a commit is done at once. A larger one, or one on a disk
    that takes longer than a millisecond (as measured), must not hold up the loop.
    """
    return not 0 < inserts <= _FEW or commit_s is None or commit_s > _FAST_S


class GroupCommit:
    """Collects work for the ledger. Call its methods on the loop's thread only; callbacks come on it too, in order."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._next = _Batch()
        self._wake = threading.Semaphore(0)
        self._scheduled = False
        self._busy = False
        self._urgent = False
        self._commit_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._handed: _Batch | None = None
        self._thread = threading.Thread(target=self._write_forever, name="fedproxy-commit", daemon=True)
        self._thread.start()

    @property
    def next(self) -> Transaction:
        """The transaction being collected: add to it, then call `ask`."""
        return self._next.work

    def insert_then(self, callback: InsertDone) -> None:
        """Call back when this transaction's inserts are durable (with the duplicates), or were refused."""
        self._next.inserted.append(callback)
        self.ask()

    def then(self, callback: Callable[[], None]) -> None:
        """Call back when this transaction is durable."""
        self._next.after.append(callback)
        self.ask()

    def then_soon(self, callback: Callable[[], None]) -> None:
        """As `then`, for what nobody waits for: within a few milliseconds, and together with what comes up before."""
        self._next.after.append(callback)
        if self._timer is None:
            self._timer = self._loop.call_later(_SOON_S, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self.ask()

    def ask(self) -> None:
        """Commit what was collected, at the end of this turn of the loop or after the commit under way."""
        self._urgent = True
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled = False
        batch = self._next
        if self._busy or not self._urgent:
            return
        self._urgent = False
        if not (batch.work or batch.inserted or batch.after):
            return
        self._next = _Batch()
        self._busy = True
        if worth_a_thread(len(batch.work.inserts), self._commit_s):
            self._handed = batch
            self._wake.release()
        else:
            self._finished(batch, self._write(batch))

    def _write_forever(self) -> None:
        while True:
            self._wake.acquire()
            batch = self._handed
            if batch is None:
                return
            outcome = self._write(batch)
            self._loop.call_soon_threadsafe(self._finished, batch, outcome)

    def _write(self, batch: _Batch) -> Duplicates | FedproxyError:
        began = time.perf_counter()
        try:
            duplicates = self._ledger.apply(batch.work)
            self._commit_s = smoothed(self._commit_s, time.perf_counter() - began)
            return duplicates
        except sqlite3.Error as exc:
            log.error("commit failed: %s", exc)
            refused = _translate(exc)
        batch.work.inserts = []
        while batch.work and not self._closing:
            try:
                self._ledger.apply(batch.work)
                break
            except sqlite3.Error as exc:
                log.error("commit failed, trying again in %s s: %s", _RETRY_S, exc)
                threading.Event().wait(_RETRY_S)
        return refused

    def _finished(self, batch: _Batch, outcome: Duplicates | FedproxyError) -> None:
        self._busy = False
        for callback in batch.inserted:
            callback(outcome)
        for after in batch.after:
            after()
        self._hand_over()

    async def flush(self) -> None:
        """Return when all that was asked up to now is durable."""
        if not self._busy and not self._next.work:
            return
        durable = self._loop.create_future()
        self.then(lambda: None if durable.done() else durable.set_result(None))
        await durable

    async def close(self) -> None:
        """Commit what is left and stop the thread."""
        await self.flush()
        self._closing = True
        self._handed = None
        self._wake.release()
        self._thread.join(5)


def _translate(exc: sqlite3.Error) -> FedproxyError:
    text = str(exc)
    if "full" in text or "disk I/O" in text:
        return ServiceFullError(f"the service cannot store more: {text}", hint="nothing was accepted; free space on its disk and submit again")
    return FedproxyError(f"the service's database failed: {text}")
