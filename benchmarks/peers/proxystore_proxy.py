"""ProxyStore's proxies over its in-process connector, without its cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from proxystore.connectors.local import LocalConnector
from proxystore.proxy import Proxy, resolve
from proxystore.store import Store

from benchmarks.host import Host


class ProxyStoreKit:
    """Proxies from keys."""

    def __init__(self, store: Store[Any]) -> None:
        self._store = store

    def wrap(self, target: Any) -> Any:
        proxy: Any = Proxy(lambda: target)
        resolve(proxy)
        return proxy

    def put(self, value: Any) -> Any:
        return self._store.put(value)

    def proxy(self, key: Any) -> Any:
        return self._store.proxy_from_key(key)

    def resolve(self, proxy: Any) -> None:
        resolve(proxy)


@contextmanager
def open_store(host: Host) -> Iterator[Store[Any]]:
    """A registered store, as a proxy's factory wants it."""
    with Store("bench", LocalConnector(), cache_size=0, populate_target=False, register=True) as store:
        yield store


def kit(host: Host) -> ProxyStoreKit:
    """In this process."""
    return ProxyStoreKit(host.own(open_store(host)))
