"""ProxyStore over a ProcessPoolExecutor: an object for each map and reduce; a map puts its own in one batch, a reduce gets them one by one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxystore.connectors.file import FileConnector
from proxystore.connectors.redis import RedisConnector
from proxystore.store import Store, get_store, register_store

from benchmarks.cases import Sample
from benchmarks.host import Host
from benchmarks.mapreduce_kernels import mapped, partitioner_of, reduced, splits_of
from benchmarks.peers.executor_pools import warm
from benchmarks.peers.redis_server import redis_address


def opened(config: Any) -> Store[Any]:
    """This process's store."""
    store: Store[Any] | None = get_store(config.name)
    if store is None:
        store = Store.from_config(config)
        register_store(store, exist_ok=True)
    return store


def run_map(config: Any, app: str, split: Any, partitioner: Any) -> list[Any]:
    return list(opened(config).put_batch(mapped(app, split, partitioner)))


def run_reduce(config: Any, app: str, keys: list[Any], output: Path, number: int) -> None:
    store = opened(config)
    reduced(app, (store.get(key) for key in keys), output, number)
    for key in keys:
        store.evict(key)


class ProxyStoreMapReducer:
    """Processes and one store."""

    def __init__(self, pool: ProcessPoolExecutor, config: Any) -> None:
        self._pool, self._config = pool, config

    def run(self, app: str, source: Path, output: Path, maps: int, reduces: int, memory_bytes: int) -> Sample:
        splits = splits_of(source, maps)
        partitioner = partitioner_of(app, splits, reduces)
        made = [self._pool.submit(run_map, self._config, app, split, partitioner) for split in splits]
        rows = [future.result() for future in made]
        ends = [
            self._pool.submit(run_reduce, self._config, app, [row[number] for row in rows], output, number) for number in range(partitioner.reduces)
        ]
        for end in ends:
            end.result()
        return {}


def maker(name: str, connector: Callable[[Host], Any]) -> Callable[[Host], ProxyStoreMapReducer]:
    """A factory over one connector."""

    @contextmanager
    def config(host: Host) -> Iterator[Any]:
        store: Store[Any] = Store(name, connector(host), cache_size=0, register=True)
        try:
            yield store.config()
        finally:
            store.close()
            shutil.rmtree(host.directory / name, ignore_errors=True)

    def make(host: Host) -> ProxyStoreMapReducer:
        pool = warm(host.own(ProcessPoolExecutor(host.workers)), host.workers)
        return ProxyStoreMapReducer(pool, host.own(config(host)))

    return make


file = maker("mapreduce-file", lambda host: FileConnector(str(host.directory / "mapreduce-file")))
redis = maker("mapreduce-redis", lambda _: RedisConnector(*redis_address()))
