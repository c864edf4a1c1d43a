"""Group commit: all that asks to be made durable while one commit is under way goes with the next.

Strategy: natural batching; nobody who waits is held up by a timer. A writer thread holds the database; the loop's thread collects the next
transaction meanwhile. An idle service commits at once, a busy one commits more at a time. What nobody waits for (the ending of a task whose result has
been pushed) goes with the next large commit, or by itself after a while: with a small one, somebody would wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from attrs import define, field

from fedproxy.config.reserve import Reserve
from fedproxy.errors import FedproxyError, ServiceFullError
from fedproxy.protocol.flow import smoothed
from fedproxy.service.ledger import Ledger, Transaction

log = logging.getLogger(__name__)

Duplicates = dict[int, tuple[bytes, bytes]]
InsertDone = Callable[[Duplicates | FedproxyError], None]
_RETRY_S = 0.5
_CLOSE_S = 5.0
_FULL = "database or disk is full"
_SOON_S = 0.05
_MUCH = 200
_FEW = 4
_FAST_S = 0.001


@define
class _Batch:
    work: Transaction = field(factory=Transaction)
    inserted: list[InsertDone] = field(factory=list)
    after: list[Callable[[], None]] = field(factory=list)
    outcome: Duplicates | FedproxyError = field(factory=dict)
    """Of the inserts."""
    owed: bool = False
    """The disk took nothing: all but the inserts is to be written later."""

    def __bool__(self) -> bool:
        return bool(self.work or self.inserted or self.after)

    def then(self, later: _Batch) -> _Batch:
        """Both in one."""
        return _Batch(self.work.then(later.work), self.inserted + later.inserted, self.after + later.after)


def worth_a_thread(inserts: int, commit_s: float | None) -> bool:
    """Whether a commit goes to the writer thread.

    Two wake-ups across cores take as long as a small commit on a fast disk: such a commit is done at once. A larger one, or one on a disk
    that takes longer than a millisecond (as measured), must not hold up the loop.
    """
    return not 0 < inserts <= _FEW or commit_s is None or commit_s > _FAST_S


class GroupCommit:
    """Collects work for the ledger. Call its methods on the loop's thread only; callbacks come on it too, in order."""

    def __init__(self, ledger: Ledger, reserve: Reserve) -> None:
        self._ledger, self._reserve = ledger, reserve
        self._loop = asyncio.get_running_loop()
        self._next, self._unhurried = _Batch(), _Batch()
        self._due = False
        """What is unhurried goes with the next commit, whatever that is."""
        self._wake = threading.Semaphore(0)
        self._scheduled = False
        self._busy = False
        self._urgent = False
        self._commit_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._handed: _Batch | None = None
        self._thread = threading.Thread(target=self._write_forever, name="fedproxy-commit", daemon=True)
        self._thread.start()

    @property
    def next(self) -> Transaction:
        """The transaction being collected: add to it, then call `ask`."""
        return self._next.work

    @property
    def unhurried(self) -> Transaction:
        """As `next`, for what nobody waits for: add to it, then call `then_soon`."""
        return self._unhurried.work

    def insert_then(self, callback: InsertDone) -> None:
        """Call back when this transaction's inserts are durable (with the duplicates), or were refused."""
        self._next.inserted.append(callback)
        self.ask()

    def then(self, callback: Callable[[], None]) -> None:
        """Call back when this transaction is durable."""
        self._next.after.append(callback)
        self.ask()

    def then_soon(self, callback: Callable[[], None]) -> None:
        """Call back when what is `unhurried` is durable: soon, or together with much that comes up before."""
        self._unhurried.after.append(callback)
        if len(self._unhurried.work.endings) >= _MUCH:
            self.hurry()
        elif self._timer is None:
            self._timer = self._loop.call_later(_SOON_S, self.hurry)

    def hurry(self) -> None:
        """Somebody waits for what is `unhurried`."""
        self._due = True
        self.ask()

    def ask(self) -> None:
        """Commit what was collected, at the end of this turn of the loop or after the commit under way."""
        self._urgent = True
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled = False
        if self._busy or not self._urgent:
            return
        self._urgent = False
        batch, self._next = self._next, _Batch()
        in_thread = worth_a_thread(len(batch.work.inserts), self._commit_s)
        if self._unhurried and (self._due or in_thread):
            in_thread = in_thread or len(self._unhurried.work.endings) > _FEW
            batch, self._unhurried = self._unhurried.then(batch), _Batch()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self._due = False
        if not batch:
            return
        self._busy = True
        if in_thread:
            self._handed = batch
            self._wake.release()
        else:
            self._write(batch)
            self._finished(batch)

    def _write_forever(self) -> None:
        while True:
            self._wake.acquire()
            batch = self._handed
            if batch is None:
                return
            self._write(batch)
            self._loop.call_soon_threadsafe(self._finished, batch)

    def _write(self, batch: _Batch) -> None:
        """Write all of it; where that fails, all but what is new; where that fails too, it is owed."""
        began = time.perf_counter()
        try:
            if batch.work.inserts and not (self._reserve.held or self._reserve.take()):
                raise sqlite3.OperationalError(_FULL)
            batch.outcome = self._ledger.apply(batch.work)
            self._commit_s = smoothed(self._commit_s, time.perf_counter() - began)
        except Exception as exc:  # noqa: BLE001 - a batch that cannot be written must not stop those behind it
            log.error("commit failed: %s", exc)
            batch.outcome = _translate(exc)
            batch.work.inserts = []
            batch.owed = not self._write_rest(batch.work)

    def _write_rest(self, work: Transaction) -> bool:
        try:
            self._ledger.apply(work)
        except Exception as exc:  # noqa: BLE001 - as above
            log.error("commit failed, trying again in %s s: %s", _RETRY_S, exc)
            if not (_is_full(exc) and self._reserve.held):
                return False
            self._reserve.give_up()
            return self._write_rest(work)
        return True

    def _finished(self, batch: _Batch) -> None:
        self._busy = False
        if batch.owed:
            self._next = _Batch(batch.work, [], batch.after).then(self._next)
            self._loop.call_later(_RETRY_S, self.ask)
        else:
            for after in batch.after:  # first, so that what they acknowledge goes along with the tasks that were inserted
                _call(after)
        for callback in batch.inserted:
            _call(partial(callback, batch.outcome))
        self._hand_over()

    async def flush(self) -> None:
        """Return when all that was asked up to now is durable."""
        if not (self._busy or self._next.work or self._unhurried.work):
            return
        durable = self._loop.create_future()
        self._due = True
        self.then(lambda: None if durable.done() else durable.set_result(None))
        await durable

    async def close(self) -> None:
        """Commit what is left and stop the thread."""
        with suppress(TimeoutError):  # a full disk: what is owed is told again by the endpoints
            await asyncio.wait_for(self.flush(), _CLOSE_S)
        self._handed = None
        self._wake.release()
        self._thread.join(5)


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # each callback is somebody else's request: one that fails must not hold up the others
        log.exception("what followed a commit failed")


def _is_full(exc: Exception) -> bool:
    return isinstance(exc, sqlite3.Error) and ("full" in str(exc) or "disk I/O" in str(exc))


def _translate(exc: Exception) -> FedproxyError:
    text = str(exc)
    if _is_full(exc):
        return ServiceFullError(f"the service cannot store more: {text}", hint="nothing was accepted; free space on its disk and submit again")
    return FedproxyError(f"the service's database failed: {text}")
