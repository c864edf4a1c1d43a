"""A thread that does something now and then for as long as somebody is there to do it for."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from fedproxy.errors import StoreError


class Keeper:
    """A daemon thread that does ``work`` every ``period_s`` until it is stopped or the object of that method is gone.

    Strategy: it is stopped through a `SimpleQueue`, which takes no lock that a thread could hold for ever: the object may go at any moment, also at the
    interpreter's end, when daemon threads have stopped where they were.
    """

    def __init__(self, work: Callable[[], object], period_s: float, *, name: str) -> None:
        stops = self._stops = SimpleQueue[None]()
        method: weakref.WeakMethod[Callable[[], object]] = weakref.WeakMethod(work, lambda _: stops.put(None))
        threading.Thread(target=_keep, args=(method, stops, period_s), name=name, daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stops.put(None)


def _keep(method: Callable[[], Callable[[], object] | None], stops: SimpleQueue[None], period_s: float) -> None:
    while True:
        with suppress(Empty):
            stops.get(timeout=period_s)
            return
        work = method()
        if work is None:
            return
        with suppress(OSError, StoreError):  # the next time may go better
            work()
        del work
