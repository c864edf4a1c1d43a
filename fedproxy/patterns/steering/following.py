"""Values that a generator yields at a worker, as they come: each is stored with the place where the next one will be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fedproxy.errors import FedproxyError
from fedproxy.store import Store, StoreFuture

_END = "fedproxy-stream-end"


class Follower:
    """Follows one generator in a thread of its own.

    Args:
        store: one that this process and the worker reach.
        taken: called with ``(value, when it was stored)`` for each, in order.
        ttl_s: how long what nobody took stays.
    """

    def __init__(self, store: Store, taken: Callable[[Any, float], None], ttl_s: float) -> None:
        self._store = store
        self._taken = taken
        self.place: StoreFuture[Any] = store.future(ttl=ttl_s)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="fedproxy-stream", daemon=True)
        self._last: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def finish(self, then: Callable[[], None]) -> None:
        """The task has ended: take what is there still, then call ``then``. Returns at once."""
        self._last = then
        self._over.set()
        with suppress(FedproxyError):
            self._close()

    def _close(self) -> None:
        """Wake the follower, which waits for a value that will not come. The worker is gone or done: nobody writes now."""
        place = self.place
        if not place.done():
            place.set_result(_END)

    def _follow(self) -> None:
        try:
            while True:
                place = self.place
                found = place.result()
                self._store.evict(place.key)
                if isinstance(found, str) and found == _END:
                    return
                value, self.place, when = found
                self._taken(value, when)
                if self._over.is_set():
                    self._close()
        except FedproxyError:
            self._over.wait()  # the store is gone; the task's own end still comes
        finally:
            self._over.wait()
            self._last()
