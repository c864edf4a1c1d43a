"""ProxyStore over a ProcessPoolExecutor: arguments and results travel as proxies, through files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxystore.connectors.file import FileConnector
from proxystore.proxy import Proxy, extract
from proxystore.store import Store, get_store

from benchmarks.host import Host
from benchmarks.peers.base import Function
from benchmarks.peers.executor_pools import ExecutorPool, warm


def run(function: Function, value: Any) -> Any:
    """In the worker: resolve, call, and send a large result back as a proxy that is evicted once it is resolved."""
    result = function(extract(value))
    if not hasattr(result, "nbytes"):
        return result
    store = get_store(value)
    assert store is not None
    return store.proxy(result, evict=True, populate_target=False)


class ProxyStorePool(ExecutorPool):
    """Objects are evicted when they have been resolved once."""

    def __init__(self, store: Store[Any], executor: Executor, workers: int) -> None:
        super().__init__(executor, workers)
        self._store = store

    def submit(self, function: Function, value: Any) -> Future[Any]:
        return self._executor.submit(run, function, self._store.proxy(value, evict=True, populate_target=False))

    def result(self, handle: Future[Any]) -> Any:
        value = handle.result()
        return extract(value) if type(value) is Proxy else value


def opener(directory: Callable[[Host], Path], name: str) -> Callable[[Host], ProxyStorePool]:
    """A factory over files in ``directory(host)``."""

    @contextmanager
    def store(host: Host) -> Iterator[Store[Any]]:
        where = directory(host)
        made: Store[Any] = Store(name, FileConnector(str(where)), cache_size=0, populate_target=False, register=True)
        try:
            yield made
        finally:
            made.close(clear=True)
            shutil.rmtree(where, ignore_errors=True)

    def make(host: Host) -> ProxyStorePool:
        executor = warm(host.own(ProcessPoolExecutor(host.workers)), host.workers)
        return ProxyStorePool(host.own(store(host)), executor, host.workers)

    return make


devshm = opener(lambda _: Path(f"/dev/shm/fpbench-proxystore-{os.getpid()}"), "bench-devshm")
file = opener(lambda host: host.directory / "proxystore", "bench-file")
