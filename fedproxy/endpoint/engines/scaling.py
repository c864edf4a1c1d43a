"""Grows and shrinks the local engine's workers with the load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from attrs import frozen

from fedproxy.config.endpoint import LocalEngine as LocalConfig
from fedproxy.endpoint import strategy
from fedproxy.endpoint.engines.base import Job
from fedproxy.endpoint.engines.process import WorkerProcess
from fedproxy.protocol.ranked import Ranked


@frozen
class View:
    """What the load is told from. Containers are started and released by the pool."""

    workers: Callable[[], Iterable[WorkerProcess]]
    waiting: Callable[[], Ranked[Job]]
    """Jobs that want no container."""


class Scaling:
    """Looks at the load now and then, and when it is told to, and follows the strategy."""

    def __init__(self, config: LocalConfig, view: View, spawn: Callable[[], object], release: Callable[[WorkerProcess], None]) -> None:
        self._config, self._view, self._spawn, self._release = config.scaling, view, spawn, release
        self._strategy = strategy.strategy(config.scaling)
        self.limits = strategy.Limits(config.min_workers, config.max_workers, parallelism=config.scaling.parallelism)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Look at the load now, and again after a while. Where there is nothing to scale this does nothing."""
        if self.limits.min_units >= self.limits.max_units:
            return
        self.stop()
        self._timer = self._loop.call_later(self._config.period_s, self.look)
        workers = [worker for worker in self._view.workers() if not worker.released]
        waiting, age_s = self._view.waiting(), self._config.queue_age_s
        pending = strategy.older_than((job.received for job in waiting), age_s, time.time()) if age_s else len(waiting)
        load = strategy.Load(pending, sum(not (worker.jobs or worker.kind) for worker in workers), len(workers))
        units = (strategy.Unit(str(w.number), w.idle_since if w.ready and not w.jobs else None) for w in workers)
        plan = self._strategy.plan(load, units, self.limits, time.monotonic())
        for _ in range(plan.grow):
            self._spawn()
        for worker in workers:
            if str(worker.number) in plan.release:
                self._release(worker)

    def stop(self) -> None:
        """Look no more by itself."""
        if self._timer is not None:
            self._timer.cancel()
