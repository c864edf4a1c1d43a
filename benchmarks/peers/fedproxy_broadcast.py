"""fedproxy: one proxy, then tasks that get it."""

from __future__ import annotations

from typing import Any

from benchmarks.host import Host
from benchmarks.peers.base import Function
from benchmarks.peers.fedproxy_session import endpoint_config, session
from fedproxy import Executor, Store


class FedproxyBroadcast:
    """The array is put once, in shared memory; the tasks map it."""

    def __init__(self, executor: Executor, store: Store) -> None:
        self._executor = executor
        self._store = store

    def broadcast(self, function: Function, array: Any, tasks: int) -> list[Any]:
        ref = self._store.put(array)
        try:
            proxy: Any = self._store.proxy_from_key(ref)
            futures = [self._executor.submit(function, proxy) for _ in range(tasks)]
            return [future.result() for future in futures]
        finally:
            self._store.evict(ref)


def broadcaster(host: Host) -> FedproxyBroadcast:
    """A private service and one endpoint, by way of the endpoint's own fastest store."""
    executor = host.shared(session)
    return FedproxyBroadcast(executor, Store.from_url(endpoint_config(host.workers).store_urls()[0]))
