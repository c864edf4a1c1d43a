"""Parsl's HighThroughputExecutor without a DataFlowKernel or encryption, with prefetch: its fastest form.

Payloads are our own pickles through ``submit_payload``: Parsl's serializer would only slow it down.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from parsl.executors import HighThroughputExecutor
from parsl.jobs.job_status_poller import JobStatusPoller
from parsl.providers import LocalProvider

from benchmarks.cases import UnsupportedCaseError
from benchmarks.host import Host
from benchmarks.peers.base import Function

CONTEXT = {"task_executor": {"f": f"{__name__}.run"}}
START_S = 60.0


def run(payload: bytes) -> Any:
    """In the worker: what the payload asks for."""
    function, value = pickle.loads(payload)
    return function(value)


class HtexPool:
    """Tasks by ``submit_payload``."""

    def __init__(self, executor: HighThroughputExecutor) -> None:
        self._executor = executor

    def submit(self, function: Function, value: Any) -> Future[Any]:
        future: Future[Any] = self._executor.submit_payload(CONTEXT, pickle.dumps((function, value), protocol=5))
        return future

    def submit_all(self, function: Function, values: Sequence[Any]) -> list[Future[Any]]:
        return [self.submit(function, value) for value in values]

    def result(self, handle: Future[Any]) -> Any:
        return handle.result()

    def results(self, handles: list[Future[Any]]) -> Iterator[Any]:
        handles.reverse()
        while handles:
            yield handles.pop().result()

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        raise UnsupportedCaseError("HTEX does not chunk")


def _executor(host: Host) -> HighThroughputExecutor:
    provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
    executor = HighThroughputExecutor(
        label="bench",
        address="127.0.0.1",
        provider=provider,
        max_workers_per_node=host.workers,
        prefetch_capacity=2 * host.workers,
        encrypted=False,
        interchange_launch_cmd=[sys.executable, "-m", "parsl.executors.high_throughput.interchange"],
    )
    executor.launch_cmd = executor.launch_cmd.replace("process_worker_pool.py", f"{sys.executable} -m parsl.executors.high_throughput.process_worker_pool")
    executor.run_dir = str(host.directory)
    provider.script_dir = str(host.directory / "scripts")
    (host.directory / "scripts").mkdir()
    return executor


@contextmanager
def open_executor(host: Host) -> Iterator[HighThroughputExecutor]:
    """A started executor whose workers have answered."""
    executor = _executor(host)
    executor.start()
    poller = JobStatusPoller(strategy="none", max_idletime=1e6, strategy_period=0.5)
    poller.add_executors([executor])
    try:
        for future in [executor.submit_payload(CONTEXT, pickle.dumps((abs, -1))) for _ in range(8)]:
            future.result(START_S)
        yield executor
    finally:
        poller.close()
        executor.shutdown()


def pool(host: Host) -> HtexPool:
    """One block with ``host.workers`` workers."""
    return HtexPool(host.own(open_executor(host)))
