"""fedproxy's stores, without their cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.host import Host
from benchmarks.peers.redis_server import redis_address
from fedproxy.config.home import host_id
from fedproxy.store import RefBatch, Store


class FedproxyStore:
    """``Store`` as it is."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, value: Any) -> Any:
        return self._store.put(value)

    def get(self, key: Any) -> Any:
        return self._store.get(key)

    def evict(self, key: Any) -> None:
        self._store.evict(key)

    def put_batch(self, values: Sequence[Any]) -> RefBatch:
        return self._store.put_batch(values)

    def get_batch(self, keys: RefBatch) -> list[Any]:
        return self._store.get_batch(keys)

    def evict_batch(self, keys: RefBatch) -> None:
        self._store.evict_batch(keys)


def opener(url: Callable[[Host], str]) -> Callable[[Host], FedproxyStore]:
    """A factory for the store at ``url(host)``; what was put is removed at the end."""

    @contextmanager
    def store(host: Host) -> Iterator[Store]:
        os.environ["FEDPROXY_HOME"] = str(host.directory / "home")
        made = Store.from_url(url(host))
        try:
            yield made
        finally:
            made.close(clear=True)

    return lambda host: FedproxyStore(host.own(store(host)))


def _redis_url(host: Host) -> str:
    name, port = redis_address()
    return f"redis://{name}:{port}?cache_bytes=0"


shm = opener(lambda _: f"shm://{host_id()}/bench-{os.getpid()}")
file = opener(lambda host: f"file://{host.directory / 'store'}?cache_bytes=0")
redis = opener(_redis_url)
