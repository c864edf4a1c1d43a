"""Pools behind the standard ``Executor`` interface on one machine: ProcessPoolExecutor (ppe) and loky."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

from benchmarks.host import Host
from benchmarks.peers.base import Function, chunk_size


class ExecutorPool:
    """Any ``concurrent.futures.Executor``."""

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        self._workers = workers

    def submit(self, function: Function, value: Any) -> Future[Any]:
        return self._executor.submit(function, value)

    def submit_all(self, function: Function, values: Sequence[Any]) -> list[Future[Any]]:
        return [self.submit(function, value) for value in values]

    def result(self, handle: Future[Any]) -> Any:
        return handle.result()

    def results(self, handles: list[Future[Any]]) -> Iterator[Any]:
        handles.reverse()
        while handles:
            yield self.result(handles.pop())

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        return list(self._executor.map(function, values, chunksize=chunk_size(len(values), self._workers)))


def ppe(host: Host) -> ExecutorPool:
    """The standard library's pool, workers started."""
    return ExecutorPool(warm(host.own(ProcessPoolExecutor(host.workers)), host.workers), host.workers)


def loky(host: Host) -> ExecutorPool:
    """loky's pool, workers started."""
    from loky import ProcessPoolExecutor as LokyExecutor  # type: ignore[import-untyped]

    return ExecutorPool(warm(host.own(LokyExecutor(host.workers)), host.workers), host.workers)


def warm(executor: Executor, workers: int) -> Executor:
    """Have every worker started before anything is timed."""
    getpid: Callable[[], int] = os.getpid
    for future in [executor.submit(getpid) for _ in range(8 * workers)]:
        future.result()
    return executor
