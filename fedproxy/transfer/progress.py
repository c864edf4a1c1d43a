"""What a route tells of one batch, and what the stager learns from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedproxy.errors import FedproxyError, TransferCancelledError, TransferError
from fedproxy.transfer.objects import Replica
from fedproxy.transfer.routes.base import Move
from fedproxy.transfer.staged import Entry

if TYPE_CHECKING:
    from fedproxy.transfer.stager import Stager


class BatchWatch:
    """What a route tells, for one batch."""

    def __init__(self, stager: Stager, route: str, moves: Mapping[Move, Entry]) -> None:
        self._stager, self._route, self._moves = stager, route, moves
        self.failures: dict[Move, FedproxyError] = {}
        self._began = time.monotonic()
        self._first: float | None = None
        self._bytes = 0
        self._fresh: list[Entry] = []
        self._lock = threading.Lock()

    def advanced(self, move: Move, count: int) -> None:
        """See `Watch.advanced`."""
        entry = self._moves[move]
        with self._lock:
            if self._first is None:
                self._first = time.monotonic()
            self._bytes += count
        entry.done += count
        if entry.unwanted:
            raise TransferCancelledError("nobody wants it any more")

    def arrived(self, move: Move) -> None:
        """See `Watch.arrived`."""
        entry = self._moves[move]
        try:
            self._stager.arrived(move, entry)
        except (FedproxyError, OSError) as exc:
            self.failed(move, exc if isinstance(exc, FedproxyError) else TransferError(str(exc)))
        else:
            with self._lock:
                self._fresh.append(entry)

    def failed(self, move: Move, error: FedproxyError) -> None:
        """See `Watch.failed`."""
        with self._lock:
            self.failures[move] = error

    def cancelled(self, move: Move) -> bool:
        """See `Watch.cancelled`."""
        return self._moves[move].unwanted

    def finish(self) -> None:
        """Tell the catalogue, and learn how fast it went."""
        stager, parts = self._stager, self._stager.parts
        if not self._fresh:
            return
        source = next(iter(self._moves.values())).source
        if self._bytes and self._first is not None:
            parts.speeds.learn((source, stager.here.site, self._route), setup_s=self._first - self._began, size=self._bytes,
                               elapsed_s=time.monotonic() - self._began)
        if stager.here.endpoint:
            stager.tell_copies([(entry.wanted, Replica(stager.here.site, parts.space.url, entry.wanted.id)) for entry in self._fresh])
