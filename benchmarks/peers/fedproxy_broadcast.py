"""fedproxy: one proxy, then tasks that get it."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.host import Host
from benchmarks.peers.base import Function
from benchmarks.peers.fedproxy_session import session
from fedproxy import Executor, Store
from fedproxy.config.home import host_id


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
    """A private service and one endpoint."""
    executor = host.shared(session)
    store = Store.from_url(f"shm://{host_id()}/bench-{os.getpid()}")
    host.own(_Cleared(store))
    return FedproxyBroadcast(executor, store)


class _Cleared:
    """Removes what is left in the store at the end."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._store.close(clear=True)
