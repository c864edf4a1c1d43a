"""The stores of this process: one per configuration, however many ask for it.

The fingerprint is the canonical URL with all its options, so that two stores of one name but different settings are
never mistaken for each other.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from fedproxy.errors import ConfigError
from fedproxy.store.connectors import file, memory, shm
from fedproxy.store.connectors.base import SupportsReachable
from fedproxy.store.connectors.registry import connector_from_url
from fedproxy.store.urls import StoreUrl

if TYPE_CHECKING:
    from fedproxy.store.store import Store

_LOCAL = {"memory": memory.reachable, "file": file.reachable, "shm": shm.reachable}
_lock = threading.RLock()
_stores: dict[str, Store] = {}
_ASK_AGAIN_S = 5.0
_silent: dict[str, float] = {}
"""Store URL → monotonic time before which it is not asked again whether it can be reached: an address that nobody has takes a second to be silent."""


def open_store(url: str) -> Store:
    """The store of this configuration, made unless this process has it.

    Raises:
        ConfigError: not a store URL.
        StoreUnavailableError: it cannot be reached from here.
        MissingExtraError: its client library is not installed here.
    """
    store = _stores.get(url)
    if store is not None:
        return store
    from fedproxy.store.store import Store

    parsed = StoreUrl.parse(url)
    with _lock:
        store = _stores.get(parsed.public())
        if store is None:
            store = Store(connector_from_url(parsed.connector_url()), options=parsed.store_options())
        _stores[url] = _stores[parsed.public()] = _stores[store.url] = store
        return store


def get_store(url: str) -> Store | None:
    """The store of this configuration if this process has it."""
    return _stores.get(url) or _stores.get(StoreUrl.parse(url).public())


def register_store(store: Store) -> None:
    """Make a store that was built by hand known to the proxies of this process.

    Raises:
        ConfigError: another store of this configuration is registered.
    """
    with _lock:
        if _stores.setdefault(store.url, store) is not store:
            raise ConfigError(f"another store of this configuration is registered: {store.url}", hint="use that one")


def unregister_store(store: Store) -> None:
    """Forget a store; its proxies make a new one when they are resolved."""
    with _lock:
        for url in [url for url, known in _stores.items() if known is store]:
            del _stores[url]


def reachable(url: str) -> bool:
    """Whether this process can use the store. Never raises; makes nothing on local media."""
    try:
        local = _LOCAL.get(StoreUrl.parse(url).scheme)
        return _answers(url) if local is None else local(url)
    except Exception:  # noqa: BLE001  whatever is wrong with a store, it is not reachable
        return False


def _answers(url: str) -> bool:
    """A store that was opened only to be asked, and does not answer, is not one of this process's stores."""
    if time.monotonic() < _silent.get(url, 0.0):
        return False
    known = get_store(url)
    store = known or open_store(url)
    answer = store.connector.reachable() if isinstance(store.connector, SupportsReachable) else True
    if answer:
        _silent.pop(url, None)
    else:
        _silent[url] = time.monotonic() + _ASK_AGAIN_S
        if known is None:
            unregister_store(store)
    return answer


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
