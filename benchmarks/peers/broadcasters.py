"""One array to many tasks: by Ray's object store, Dask's scatter, and a mapped file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.functions import Array
from benchmarks.host import Host
from benchmarks.peers.base import Function
from benchmarks.peers.executor_pools import warm


class RayBroadcast:
    """One ``put``, then tasks with the reference."""

    def __init__(self, remote: Callable[[Function], Any], put: Callable[[Any], Any], get: Callable[[Any], Any]) -> None:
        self._remote, self._put, self._get = remote, put, get

    def broadcast(self, function: Function, array: Array, tasks: int) -> list[Any]:
        reference, task = self._put(array), self._remote(function)
        found: list[Any] = self._get([task.remote(reference) for _ in range(tasks)])
        return found


def ray_broadcaster(host: Host) -> RayBroadcast:
    """Ray."""
    import ray

    from benchmarks.peers.ray_pool import cluster

    host.shared(cluster)
    return RayBroadcast(ray.remote, ray.put, ray.get)


class DaskBroadcast:
    """One ``scatter`` to all workers, then tasks with the future."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def broadcast(self, function: Function, array: Array, tasks: int) -> list[Any]:
        placed = self._client.scatter(array, broadcast=True, direct=True, hash=False)
        futures = [self._client.submit(function, placed, pure=False) for _ in range(tasks)]
        found: list[Any] = self._client.gather(futures, direct=True)
        return found


def dask_broadcaster(host: Host) -> DaskBroadcast:
    """Dask."""
    from benchmarks.peers.dask_pool import cluster

    return DaskBroadcast(host.shared(cluster))


def call_on_mapped(function: Function, path: str) -> Any:
    """In the worker."""
    return function(np.memmap(path, np.float64, "r"))


class MappedFile:
    """A fresh file in /dev/shm that the workers map."""

    def __init__(self, executor: Executor, path: Path) -> None:
        self._executor = executor
        self._path = path

    def broadcast(self, function: Function, array: Array, tasks: int) -> list[Any]:
        array.tofile(self._path)
        try:
            futures = [self._executor.submit(call_on_mapped, function, str(self._path)) for _ in range(tasks)]
            return [future.result() for future in futures]
        finally:
            self._path.unlink()


@contextmanager
def open_mapped_file(host: Host) -> Iterator[MappedFile]:
    """A pool of warm workers, and a name for the file."""
    path = Path(f"/dev/shm/fpbench-broadcast-{os.getpid()}")
    with ProcessPoolExecutor(host.workers) as executor:
        yield MappedFile(warm(executor, host.workers), path)


def mapped_file(host: Host) -> MappedFile:
    """The raw way."""
    return host.own(open_mapped_file(host))
