"""fedproxy's proxies over its in-process store."""

from __future__ import annotations

from typing import Any

from benchmarks.host import Host
from fedproxy.proxy import Proxy, SimpleFactory, resolve
from fedproxy.store import Store, proxy_from_ref


class FedproxyKit:
    """Proxies from refs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def wrap(self, target: Any) -> Any:
        proxy: Any = Proxy(SimpleFactory(target))
        resolve(proxy)
        return proxy

    def put(self, value: Any) -> Any:
        return self._store.put(value)

    def proxy(self, key: Any) -> Any:
        return proxy_from_ref(key)

    def resolve(self, proxy: Any) -> None:
        resolve(proxy)


def kit(host: Host) -> FedproxyKit:
    """In this process."""
    return FedproxyKit(Store.from_url("memory://bench"))
