"""Dask: a local cluster of single-threaded worker processes; the client talks to the workers directly."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dask
import dask.bag
from distributed import Client, LocalCluster

from benchmarks.cases import UnsupportedCaseError
from benchmarks.host import Host
from benchmarks.peers.base import Function

GATHER = 50
"""Results fetched per call: few round trips, bounded memory."""


@contextmanager
def cluster(host: Host) -> Iterator[Client]:
    """One client of a cluster with ``host.workers`` workers, no dashboard, no spilling."""
    settings = {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.scheduler.work-stealing": False,
        "distributed.admin.large-graph-warning-threshold": "10GB",
        "temporary-directory": str(host.directory),
    }
    shape = {"n_workers": host.workers, "threads_per_worker": 1, "processes": True}
    with (
        dask.config.set(settings),
        LocalCluster(**shape, dashboard_address=None, silence_logs=logging.ERROR) as local,
        Client(local, direct_to_workers=True) as client,
    ):
        client.wait_for_workers(host.workers)
        yield client


class DaskPool:
    """Tasks by ``Client.submit``; arrays are scattered to the workers, not embedded in the graph."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(self, function: Function, value: Any) -> Any:
        return self._client.submit(function, self._place([value])[0], pure=False)

    def submit_all(self, function: Function, values: Sequence[Any]) -> list[Any]:
        placed = [one for i in range(0, len(values), GATHER) for one in self._place(values[i : i + GATHER])]
        return list(self._client.map(function, placed, pure=False))

    def _place(self, values: Sequence[Any]) -> Sequence[Any]:
        if not hasattr(values[0], "nbytes"):
            return values
        placed: Sequence[Any] = self._client.scatter(list(values), direct=True, hash=False)
        return placed

    def result(self, handle: Any) -> Any:
        return self._client.gather(handle, direct=True)

    def results(self, handles: list[Any]) -> Iterator[Any]:
        handles.reverse()
        while handles:
            some = handles[: -GATHER - 1 : -1]
            yield from self._client.gather(some, direct=True)
            del handles[-GATHER:], some

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        found: list[Any] = self._client.gather(self._client.map(function, values, pure=False, batch_size=1000))
        return found


class DaskBag(DaskPool):
    """Dask's own chunked map: a bag in partitions."""

    def submit(self, function: Function, value: Any) -> Any:
        raise UnsupportedCaseError("a bag is mapped as a whole")

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        workers = len(self._client.nthreads())
        sequence = dask.bag.from_sequence(values, npartitions=4 * workers)
        return list(sequence.map(function).compute(scheduler=self._client))


def pool(host: Host) -> DaskPool:
    """Futures."""
    return DaskPool(host.shared(cluster))


def bag(host: Host) -> DaskBag:
    """Bags."""
    return DaskBag(host.shared(cluster))
