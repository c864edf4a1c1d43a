"""Ray on this machine: tasks, actors, and objects in its shared-memory store."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from benchmarks.host import Host
from benchmarks.peers.base import Function, apply_to_each, chunk_size, chunks

OBJECT_STORE_BYTES = 6_000_000_000

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray  # noqa: E402 - it reads those on import


@contextmanager
def cluster(host: Host) -> Iterator[None]:
    """One node with ``host.workers`` CPUs, no dashboard."""
    ray.init(
        num_cpus=host.workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(host.directory / "r"),
    )
    try:
        yield
    finally:
        ray.shutdown()


class Worker:
    """An actor that runs what it is sent."""

    def run(self, function: Function, value: Any) -> Any:
        return function(value)


class RayPool:
    """Tasks; large values are put in the object store first."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._remotes: dict[Function, Any] = {}
        self._chunk = ray.remote(apply_to_each)

    def submit(self, function: Function, value: Any) -> Any:
        if function not in self._remotes:
            self._remotes[function] = ray.remote(function)
        return self._remotes[function].remote(self.place(value))

    def place(self, value: Any) -> Any:
        """A reference to a large value; a small one itself."""
        return ray.put(value) if hasattr(value, "nbytes") else value

    def submit_all(self, function: Function, values: Sequence[Any]) -> list[Any]:
        return [self.submit(function, value) for value in values]

    def result(self, handle: Any) -> Any:
        return ray.get(handle)

    def results(self, handles: list[Any]) -> Iterator[Any]:
        if len(handles) > 1 and isinstance(ray.get(handles[0]), int):
            yield from ray.get(handles)
            return
        handles.reverse()
        while handles:
            yield ray.get(handles.pop())

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        parts = chunks(values, chunk_size(len(values), self._workers))
        return [value for part in ray.get([self._chunk.remote(function, part) for part in parts]) for value in part]


class RayActors(RayPool):
    """Actors in turn: no scheduling per task."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._actors: list[Any] = [self._make().remote() for _ in range(workers)]
        self._next = cycle(self._actors)

    @staticmethod
    def _make() -> Any:
        return ray.remote(Worker)

    def submit(self, function: Function, value: Any) -> Any:
        return next(self._next).run.remote(function, self.place(value))

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        parts = chunks(values, chunk_size(len(values), self._workers))
        handles = [next(self._next).run.remote(_Chunk(function), part) for part in parts]
        return [value for part in ray.get(handles) for value in part]


class _Chunk:
    """``apply_to_each`` with its function bound; small to pickle."""

    def __init__(self, function: Function) -> None:
        self._function = function

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        return apply_to_each(self._function, values)


def pool(host: Host) -> RayPool:
    """Tasks."""
    host.shared(cluster)
    return RayPool(host.workers)


def actors(host: Host) -> RayActors:
    """Actors. They hold no CPU (``num_cpus=0`` is Ray's default for a running actor), so tasks are not kept waiting."""
    host.shared(cluster)
    return RayActors(host.workers)
