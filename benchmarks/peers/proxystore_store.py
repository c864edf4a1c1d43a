"""ProxyStore's stores, without its cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxystore.connectors.file import FileConnector
from proxystore.connectors.redis import RedisConnector
from proxystore.store import Store

from benchmarks.host import Host
from benchmarks.peers.redis_server import redis_address


class ProxyStoreStore:
    """``Store`` as it is; it has no batch get, so its proxies resolve one by one and so does this."""

    def __init__(self, store: Store[Any]) -> None:
        self._store = store

    def put(self, value: Any) -> Any:
        return self._store.put(value)

    def get(self, key: Any) -> Any:
        return self._store.get(key)

    def evict(self, key: Any) -> None:
        self._store.evict(key)

    def put_batch(self, values: Sequence[Any]) -> list[Any]:
        return list(self._store.put_batch(list(values)))

    def get_batch(self, keys: Sequence[Any]) -> list[Any]:
        return [self._store.get(key) for key in keys]

    def evict_batch(self, keys: Sequence[Any]) -> None:
        for key in keys:
            self._store.evict(key)


def opener(directory: Callable[[Host], Path], name: str) -> Callable[[Host], ProxyStoreStore]:
    """A factory over files in ``directory(host)``."""

    @contextmanager
    def store(host: Host) -> Iterator[Store[Any]]:
        where = directory(host)
        try:
            with Store(name, FileConnector(str(where)), cache_size=0, populate_target=False) as made:
                yield made
        finally:
            shutil.rmtree(where, ignore_errors=True)

    return lambda host: ProxyStoreStore(host.own(store(host)))


def redis(host: Host) -> ProxyStoreStore:
    """Over the run's Redis server."""
    store: Store[Any] = Store("redis", RedisConnector(*redis_address()), cache_size=0, populate_target=False)
    return ProxyStoreStore(host.own(store))


devshm = opener(lambda _: Path(f"/dev/shm/fpbench-proxystore-{os.getpid()}"), "devshm")
file = opener(lambda host: host.directory / "proxystore", "file")
