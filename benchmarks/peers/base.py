"""What the benchmarks ask of a system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from benchmarks.rows import Metric

Handle: TypeAlias = Any
"""What a system gives for a task under way: a future, a reference."""

Function: TypeAlias = Callable[[Any], Any]


class Pool(Protocol):
    """Runs functions of one argument in two worker processes."""

    def submit(self, function: Function, value: Any) -> Handle:
        """Start one task."""
        ...

    def submit_all(self, function: Function, values: Sequence[Any]) -> list[Handle]:
        """Start one task for each value; where a system moves many values better together, it does."""
        ...

    def result(self, handle: Handle) -> Any:
        """Wait for one."""
        ...

    def results(self, handles: list[Handle]) -> Iterable[Any]:
        """Wait for all, in order. Lets go of each result before it gives the next."""
        ...

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        """All values, in chunks.

        Raises:
            UnsupportedCaseError: the system cannot chunk.
        """
        ...


def chunk_size(count: int, workers: int) -> int:
    """Four chunks per worker, as ``multiprocessing.Pool.map`` does."""
    return max(1, -(-count // (workers * 4)))


def chunks(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """``values`` in slices of ``size``."""
    return [values[i : i + size] for i in range(0, len(values), size)]


def apply_to_each(function: Function, values: Sequence[Any]) -> list[Any]:
    """Runs in a worker: one chunk."""
    return [function(value) for value in values]


@runtime_checkable
class SupportsStages(Protocol):
    """A pool that knows where the time of its tasks went."""

    def stages(self, handles: Sequence[Handle]) -> dict[str, float]:
        """Mean time of each stage over finished tasks: ``stage_NAME`` to ms."""
        ...


STAGE_METRICS = tuple(Metric(f"stage_{name}", "ms", "lower") for name in ("client", "service", "endpoint", "worker", "back"))
"""What ``stages`` may give: up to the request read, to the endpoint's connection, to the worker, in it, and back."""


HOPS = {
    "t_c": (("submitted", "accepted"),),
    "t_s": (("accepted", "committed"),),
    "t_f": (("committed", "received"), ("returned", "finished")),
    "t_e": (("received", "started"), ("ended", "returned")),
    "t_w": (("started", "ended"),),
    "t_r": (("finished", "resolved"),),
}
"""Hop to the pairs of stations that it lies between: client to service, service (until durable), forwarder (both ways over the link), endpoint
(to the worker and back), worker, and back to the client. t_s, t_f, t_e and t_w are the paper's (TPDS 2022, Fig. 3)."""

HOP_METRICS = tuple(Metric(hop, "ms", "lower") for hop in HOPS)


class SupportsHops(Protocol):
    """A pool whose tasks know when they passed which station."""

    def hops(self, handles: Sequence[Handle]) -> dict[str, float]:
        """Median time of each of `HOPS` over finished tasks, ms."""
        ...


@runtime_checkable
class SupportsOwnTimes(Protocol):
    """A pool that is measured from inside: what it does for the last task is not what others do."""

    def own_times(self) -> dict[str, float]:
        """Metrics of the last task; they replace the benchmark's own."""
        ...


class ObjectStore(Protocol):
    """Keeps objects by key. No caches of objects on the way: what is got was fetched."""

    def put(self, value: Any) -> Any:
        """Store one; its key."""
        ...

    def get(self, key: Any) -> Any:
        """Fetch one."""
        ...

    def evict(self, key: Any) -> None:
        """Forget one."""
        ...


@runtime_checkable
class BulkStore(Protocol):
    """A store with batch calls."""

    def put_batch(self, values: Sequence[Any]) -> Sequence[Any]:
        """Store all; their keys."""
        ...

    def get_batch(self, keys: Sequence[Any]) -> Sequence[Any]:
        """Fetch all, in order."""
        ...

    def evict_batch(self, keys: Sequence[Any]) -> None:
        """Forget all."""
        ...


class ProxyKit(Protocol):
    """Makes proxies."""

    def wrap(self, target: Any) -> Any:
        """A resolved proxy of ``target``."""
        ...

    def put(self, value: Any) -> Any:
        """Store an object in this process; its key."""
        ...

    def proxy(self, key: Any) -> Any:
        """A fresh proxy of a stored object."""
        ...

    def resolve(self, proxy: Any) -> None:
        """Fetch the target."""
        ...


class Broadcaster(Protocol):
    """Gives one array to many tasks."""

    def broadcast(self, function: Function, array: Any, tasks: int) -> list[Any]:
        """Run ``function(array)`` in ``tasks`` tasks; their results."""
        ...
