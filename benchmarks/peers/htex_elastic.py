"""Plain HTEX that Parsl's own strategy scales between no block and one for each worker, looked at as often as ours."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import Future, as_completed

from parsl.jobs.job_status_poller import JobStatusPoller
from parsl.providers import LocalProvider

from benchmarks.cases import Sample
from benchmarks.elasticity import IDLE_S, LOOK_S, NAP_S, nap
from benchmarks.host import Host
from benchmarks.peers.htex_pool import CONTEXT, _executor


class HtexBurst:
    """A fresh executor for each repetition."""

    def __init__(self, host: Host) -> None:
        self._host, self._count = host, 0

    def burst(self, tasks: int) -> Sample:
        self._count += 1
        host = Host(self._host.directory / f"run{self._count}", 1)
        host.directory.mkdir()
        executor = _executor(host)
        executor._provider = LocalProvider(init_blocks=0, min_blocks=0, max_blocks=self._host.workers)
        executor._provider.script_dir = str(host.directory / "scripts")
        executor.start()
        poller = JobStatusPoller(strategy="htex_auto_scale", max_idletime=IDLE_S, strategy_period=0.1)
        poller.add_executors([executor])
        try:
            began = time.perf_counter()
            futures: list[Future[object]] = [executor.submit_payload(CONTEXT, pickle.dumps((nap, NAP_S))) for _ in range(tasks)]
            times = []
            peak = 0
            for _ in as_completed(futures, 120):
                times.append(time.perf_counter())
                peak = max(peak, sum(m["worker_count"] for m in executor.connected_managers()))
            while any(not status.terminal for status in executor.status_facade.values()):
                time.sleep(LOOK_S)
            return {"time_to_first": times[0] - began, "idle_released": time.perf_counter() - times[-1], "peak_workers": float(peak)}
        finally:
            poller.close()
            executor.shutdown()


def subject(host: Host) -> HtexBurst:
    """As above."""
    return HtexBurst(host)
