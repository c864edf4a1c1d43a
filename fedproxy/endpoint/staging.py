"""Tasks whose inputs lie at other sites wait here while those are fetched: compute and transfer overlap, because the service sends tasks far ahead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial

from attrs import define, field

from fedproxy.endpoint.data_plane import DataPlane
from fedproxy.endpoint.journal import Held
from fedproxy.errors import FedproxyError, TransferError
from fedproxy.protocol.carried import MAGIC, carried
from fedproxy.protocol.codec import split
from fedproxy.store.ref import Ref

log = logging.getLogger(__name__)


@define(eq=False)
class _Waiting:
    entry: Held
    missing: int = 1
    """Objects that are not here yet; one more while that is being found out."""
    transfers: list[Future[None]] = field(factory=list)


class Staging:
    """Used on the loop's thread. ``ready`` is called with tasks whose inputs have come, ``failed`` with one whose inputs cannot be had."""

    def __init__(self, plane: DataPlane, ready: Callable[[list[Held]], None], failed: Callable[[Held, FedproxyError], None]) -> None:
        self._plane, self._ready, self._failed = plane, ready, failed
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[bytes, _Waiting] = {}
        self._pinned: dict[bytes, list[str]] = {}
        self._arrived: list[Held] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def sift(self, entries: Iterable[Held]) -> list[Held]:
        """Those that can start now. The others wait, and their inputs are on their way."""
        ready = []
        for entry in entries:
            refs = self._elsewhere(entry)
            if refs:
                self._hold(entry, refs)
            else:
                ready.append(entry)
        return ready

    def _elsewhere(self, entry: Held) -> list[Ref]:
        """What it needs that is not plainly at this site: a cheap look."""
        if not (_has_refs(entry) and self._plane.config.transfer.prefetch):
            return []
        own = self._plane.stores()
        return [ref for ref in _refs(entry) if ref.site != self._plane.config.site and ref.store not in own]

    def _hold(self, entry: Held, refs: list[Ref]) -> None:
        waiting = self._waiting[entry.task.id] = _Waiting(entry)
        looking = self._loop.run_in_executor(None, self._plane.elsewhere, refs)
        looking.add_done_callback(partial(self._looked, waiting))

    def _looked(self, waiting: _Waiting, looking: asyncio.Future[list[Ref]]) -> None:
        if self._waiting.get(waiting.entry.task.id) is not waiting:
            return
        refs = looking.result()
        if self._plane.stager is not None:
            for ref in refs:
                self._plane.pin(ref)
                self._pinned.setdefault(waiting.entry.task.id, []).append(ref.object_id)
        waiting.transfers = self._plane.stage(refs)
        waiting.missing += len(waiting.transfers)
        for transfer in waiting.transfers:
            transfer.add_done_callback(partial(self._tell, waiting))
        self._one_less(waiting)

    def _tell(self, waiting: _Waiting, transfer: Future[None]) -> None:
        """On a thread of the stager."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._over, waiting, transfer)

    def _over(self, waiting: _Waiting, transfer: Future[None]) -> None:
        task_id = waiting.entry.task.id
        if self._waiting.get(task_id) is not waiting:
            return
        error = None if transfer.cancelled() else transfer.exception()
        if error is None:
            self._one_less(waiting)
            return
        self._forget(waiting)
        self.ended([task_id])
        self._failed(waiting.entry, error if isinstance(error, FedproxyError) else TransferError(str(error)))

    def _one_less(self, waiting: _Waiting) -> None:
        waiting.missing -= 1
        if waiting.missing:
            return
        del self._waiting[waiting.entry.task.id]
        if not self._arrived:
            self._loop.call_soon(self._start)
        self._arrived.append(waiting.entry)

    def _start(self) -> None:
        arrived, self._arrived = self._arrived, []
        self._ready(arrived)

    def cancel(self, task_id: bytes) -> Held | None:
        """Take a task out; what is fetched for it alone stops. None where it does not wait here."""
        for entry in self._arrived:
            if entry.task.id == task_id:
                self._arrived.remove(entry)
                return entry
        waiting = self._waiting.get(task_id)
        if waiting is None:
            return None
        self._forget(waiting)
        self.ended([task_id])
        return waiting.entry

    def _forget(self, waiting: _Waiting) -> None:
        del self._waiting[waiting.entry.task.id]
        for transfer in waiting.transfers:
            transfer.cancel()

    def ended(self, ids: Iterable[bytes]) -> None:
        """These tasks are over: their copies may go when room is needed."""
        if self._pinned:
            for task_id in ids:
                for name in self._pinned.pop(task_id, ()):
                    self._plane.unpin(name)


def _has_refs(entry: Held) -> bool:
    payload = entry.payload or b""
    return payload[:4] == MAGIC or bool(entry.task.upstream)


def _refs(entry: Held) -> list[Ref]:
    """The refs in front of the task's own arguments, and of the results behind them."""
    view = memoryview(entry.payload or b"")
    own = len(view) - sum(size for _, size in entry.task.upstream)
    parts = [view[:own], *split(view[own:], (size for _, size in entry.task.upstream))]
    return [Ref.from_bytes(ref) for part in parts for ref in carried(part)[0]]
