"""fedproxy's executor: arguments and results of any size, as any user has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean, median
from typing import Any

from benchmarks.host import Host
from benchmarks.peers.base import HOPS, Function
from benchmarks.peers.fedproxy_session import session
from fedproxy import Executor, Proxy
from fedproxy.proxy import extract

STAGES = {
    "client": ("submitted", "accepted"),
    "service": ("accepted", "dispatched"),
    "endpoint": ("dispatched", "started"),
    "worker": ("started", "ended"),
    "back": ("ended", "resolved"),
}
"""Stage to the stations it lies between. All clocks are this machine's."""


class FedproxyPool:
    """Tasks by ``Executor.submit``; a large result is resolved when it is asked for."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, function: Function, value: Any) -> Any:
        return self._executor.submit(function, value)

    def submit_all(self, function: Function, values: Sequence[Any]) -> list[Any]:
        return [self._executor.submit(function, value) for value in values]

    def result(self, handle: Any) -> Any:
        value = handle.result()
        return extract(value) if type(value) is Proxy else value

    def results(self, handles: list[Any]) -> Iterator[Any]:
        handles.reverse()
        while handles:
            yield self.result(handles.pop())

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        return list(self._executor.map(function, values))

    def stages(self, handles: Sequence[Any]) -> dict[str, float]:
        """Mean of each stage, from the tasks' timelines."""
        lines = [handle.timeline() for handle in handles]
        found = {}
        for name, (begin, end) in STAGES.items():
            times = [line[end] - line[begin] for line in lines if begin in line and end in line]
            if times:
                found[f"stage_{name}"] = 1e3 * fmean(times)
        return found

    def hops(self, handles: Sequence[Any]) -> dict[str, float]:
        """Median of each hop, from the tasks' timelines."""
        lines = [handle.timeline() for handle in handles]
        return {hop: 1e3 * median(sum(line[end] - line[begin] for begin, end in pairs) for line in lines) for hop, pairs in HOPS.items()}


def pool(host: Host) -> FedproxyPool:
    """A private service and one endpoint."""
    return FedproxyPool(host.shared(session))
