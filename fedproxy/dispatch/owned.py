"""Large results belong to their future: when nobody holds them any more, they leave their store.

Strategy: the proxy of a result has a factory that knows whether the proxy was ever pickled (into another task, a file, a message). If it was,
others may still resolve it and its time to live decides; if not, the object is evicted when proxy and future are gone, by a thread, because a
finalizer must not wait for a store. What is still held when the process ends is evicted then; what is held for long has its time renewed.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from contextlib import suppress
from typing import Any

from fedproxy.config.lifetimes import TASK_DATA_TTL_S
from fedproxy.errors import FedproxyError
from fedproxy.proxy import Proxy
from fedproxy.store import Ref, Store, ref_of
from fedproxy.store.connectors.base import SupportsTouch
from fedproxy.store.proxies import RefFactory

_unwanted: queue.SimpleQueue[Ref] = queue.SimpleQueue()
_lock = threading.Lock()
_sweeper: tuple[int, threading.Thread] | None = None
_RENEW_S = 3600.0


class ResultFactory(RefFactory):
    """As its parent, and evicts the object when it is collected, unless a proxy of it was pickled."""

    __slots__ = ("__weakref__", "shared")

    def __init__(self, ref: Ref) -> None:
        super().__init__(ref)
        self.shared = False
        _live.add(self)

    def reduce_proxy(self, kind: str | None) -> tuple[Any, ...]:
        """The recipe of any other proxy: whoever loads it owns nothing."""
        self.shared = True
        return super().reduce_proxy(kind)

    def __del__(self) -> None:
        if not self.shared:
            _unwanted.put(self.ref)


_live: weakref.WeakSet[ResultFactory] = weakref.WeakSet()


def own_result(value: Any) -> Any:
    """The same value; a proxy that came as a result owns its object from now on."""
    if type(value) is not Proxy:
        return value
    ref = ref_of(value)
    if ref is None:
        return value
    _start_sweeper()
    return Proxy(ResultFactory(ref), value.__fp_kind__)


def _start_sweeper() -> None:
    global _sweeper
    if _sweeper is not None and _sweeper[0] == os.getpid():
        return
    with _lock:
        if _sweeper is None or _sweeper[0] != os.getpid():
            thread = threading.Thread(target=_sweep_forever, name="fedproxy-evict", daemon=True)
            _sweeper = (os.getpid(), thread)
            thread.start()
            atexit.register(evict_all)


def _sweep_forever() -> None:
    while True:
        try:
            _evict(_unwanted.get(timeout=_RENEW_S))
        except queue.Empty:
            _renew()


def _evict(ref: Ref) -> None:
    with suppress(FedproxyError, OSError):
        Store.from_url(ref.store).evict(ref)


def _renew() -> None:
    for factory in list(_live):
        with suppress(FedproxyError, OSError):
            connector = Store.from_url(factory.ref.store).connector
            if isinstance(connector, SupportsTouch):
                connector.touch(factory.ref.key, TASK_DATA_TTL_S)


def evict_all() -> None:
    """The process ends: evict what it held, and what the thread has not come to."""
    for factory in list(_live):
        if not factory.shared:
            factory.shared = True  # its finalizer need not
            _evict(factory.ref)
    with suppress(queue.Empty):
        while True:
            _evict(_unwanted.get_nowait())
