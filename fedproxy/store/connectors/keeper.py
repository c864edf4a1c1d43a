"""A thread that does something now and then for as long as somebody is there to do it for."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress

from fedproxy.errors import StoreError


class Keeper:
    """A daemon thread that does ``work`` every ``period_s`` until it is stopped or the object of that method is gone."""

    def __init__(self, work: Callable[[], object], period_s: float, *, name: str) -> None:
        stopped = self._stopped = threading.Event()
        method: weakref.WeakMethod[Callable[[], object]] = weakref.WeakMethod(work, lambda _: stopped.set())
        threading.Thread(target=_keep, args=(method, stopped, period_s), name=name, daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()


def _keep(method: Callable[[], Callable[[], object] | None], stopped: threading.Event, period_s: float) -> None:
    while not stopped.wait(period_s):
        work = method()
        if work is None:
            return
        with suppress(OSError, StoreError):  # the next time may go better
            work()
        del work
