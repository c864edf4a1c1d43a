"""The warm pool of the local engine: which worker gets a task, which containers are started and which are let go.

Strategy: decisions are `router` and `deployment`; here they are fed with what is, and carried out. An engine whose tasks want no containers
does nothing of this but ask the router, which then has one kind.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, frozen

from fedproxy.config.containers import Containers
from fedproxy.endpoint.containers.images import Images
from fedproxy.endpoint.containers.launch import Channels, InContainer
from fedproxy.endpoint.containers.plan import Plan, plan_for, this_interpreter
from fedproxy.endpoint.containers.runtimes import runtime_of
from fedproxy.endpoint.deployment import Demand, Step, fill_empty, replace_idle, ripe, starved
from fedproxy.endpoint.engines.launch import Bare, Starter
from fedproxy.endpoint.engines.process import WorkerProcess
from fedproxy.endpoint.engines.waiting import Waiting
from fedproxy.endpoint.router import How, RandomRouter, Router, WarmingAware
from fedproxy.errors import ContainerError
from fedproxy.protocol.flow import smoothed

log = logging.getLogger(__name__)

_TRIES = 3
"""An image whose containers die while they start so often in a row is given up for a while."""
_RETRY_S = 0.5


@frozen
class Acts:
    """What the pool asks of its engine."""

    spawn: Callable[[str, Starter], WorkerProcess | None]
    """Hold one more worker, of this kind."""
    release: Callable[[WorkerProcess], None]
    """Let an idle worker go."""
    refuse: Callable[[str, ContainerError], None]
    """End all jobs that wait for this kind."""
    wake: Callable[[], None]
    """Look at the queue again."""


@define
class Counts:
    """What happened with one image since the engine started."""

    cold_starts: int = 0
    """Containers started because a task waited for one."""
    prefetched: int = 0
    """Containers started ahead of any task."""
    tasks: int = 0
    warm: int = 0
    """Tasks that met a container which had run a task before, or was prefetched."""
    released: int = 0
    failed_starts: int = 0
    failed_in_a_row: int = 0
    not_before: float = 0.0
    """Monotonic time of the next try."""
    cold_s: float | None = None
    """How long a start takes, smoothed."""
    run_s: float | None = None


class Pool:
    """The containers of one local engine."""

    def __init__(self, config: Containers, endpoint: str, directory: Path, acts: Acts) -> None:
        self._config, self._endpoint, self._directory, self._acts = config, endpoint, directory, acts
        self._runtime = runtime_of(config)
        self._images = Images(config, self._runtime, endpoint)
        self._channels = Channels()
        self._plan: Plan | None = None
        self._counts: dict[str, Counts] = {}
        self._warming = config.routing == "warm"
        self._router: Router[WorkerProcess] = WarmingAware() if self._warming else RandomRouter()
        self._starting: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()

    # ------------------------------------------------------------ workers

    def _starter(self, kind: str) -> Starter:
        """How a worker of this kind is started."""
        if not kind or self._runtime is None:
            return Bare()
        if self._plan is None:
            self._plan = plan_for(self._config, this_interpreter(), (self._directory / "store", self._directory / "tasks"), os.environ)
        return InContainer(kind, self._config, self._runtime, self._plan, self._channels)

    def ready(self, worker: WorkerProcess) -> None:
        """It has announced itself and waits for a task."""
        self._starting[worker.kind] -= 1
        if worker.kind:
            counts = self._of(worker.kind)
            counts.failed_in_a_row = 0
            counts.cold_s = smoothed(counts.cold_s, time.monotonic() - worker.started)
        self._router.advertise(worker, 0, {worker.kind: 1})

    def idle(self, worker: WorkerProcess) -> None:
        """It has done all that it was given."""
        self._router.freed(worker, worker.kind)

    def leave(self, worker: WorkerProcess) -> None:
        """It gets nothing more."""
        self._router.leave(worker)

    def pick(self, kind: str, wanted: int) -> WorkerProcess | None:
        """An idle worker for one of ``wanted`` tasks of this kind."""
        choice = self._router.route(kind, at_most="warm" if self._warming else self._effort(kind, wanted))
        while choice is not None and choice.how != "warm":  # by chance: a container of another kind has to go
            self._acts.release(choice.place)
            self._count_release(choice.place.kind)
            self._start(Step(kind, choice.place.kind))
            choice = self._router.route(kind, at_most=self._effort(kind, wanted))
        return choice.place if choice is not None else None

    def _effort(self, kind: str, wanted: int) -> How:
        return "evict" if wanted > self._starting[kind] else "warm"

    def given(self, worker: WorkerProcess) -> None:
        """It gets a task."""
        if worker.kind:
            counts = self._of(worker.kind)
            counts.tasks += 1
            if worker.fresh:
                worker.fresh = False
            else:
                counts.warm += 1

    def ran(self, kind: str, run_s: float) -> None:
        """A task in a container took so long."""
        if kind:
            counts = self._of(kind)
            counts.run_s = smoothed(counts.run_s, run_s)

    def gone(self, worker: WorkerProcess) -> None:
        """Its process has ended."""
        self._router.leave(worker)
        self._starting[worker.kind] -= not worker.announced
        if not worker.kind or worker.released or worker.announced:
            return
        counts = self._of(worker.kind)
        counts.failed_starts += 1
        counts.failed_in_a_row += 1
        counts.not_before = time.monotonic() + _RETRY_S
        if counts.failed_in_a_row >= _TRIES:
            counts.failed_in_a_row = 0
            error = ContainerError(
                f"the worker in the image {worker.kind!r} does not start at endpoint {self._endpoint!r}: {worker.epitaph()}",
                hint="the image needs a C library and what this Python needs; see docs/containers.md")
            self._give_up(worker.kind, error)
        else:
            self._loop.call_later(_RETRY_S, self._acts.wake)

    def _give_up(self, kind: str, error: ContainerError) -> None:
        """For now; tasks that come in a few seconds try again."""
        self._images.reject(kind, error)
        self._acts.refuse(kind, error)

    def _of(self, kind: str) -> Counts:
        counts = self._counts.get(kind)
        if counts is None:
            counts = self._counts[kind] = Counts()
        return counts

    # ------------------------------------------------------------ deployment

    def deploy(self, workers: Sequence[WorkerProcess], waiting: Waiting, capacity: int) -> None:
        """Start containers for what waits, and let idle ones of other kinds go for them."""
        kinds = waiting.kinds()
        if not self._counts and not any(kinds):
            return
        held = [worker for worker in workers if not worker.released]
        able = {kind for kind in kinds if self._can_start(kind)}
        demands = self._demands(held, waiting, able)
        for step in fill_empty(demands, capacity - len(held)):
            self._start(step)
        while self._warming:
            replacement = replace_idle(self._demands([w for w in workers if not w.released], waiting, able))
            if replacement is None:
                return
            idle = [w for w in workers if w.kind == replacement.release and w.ready and not w.jobs]
            self._acts.release(min([w for w in idle if self._is_ripe(w)] or idle, key=lambda w: w.idle_since))  # the least recently used
            self._count_release(replacement.release or "")
            self._start(replacement)

    def starved(self, workers: Sequence[WorkerProcess], waiting: Waiting) -> bool:
        """Whether a kind without any container has waited so long that busy workers of other kinds are to be left to run dry."""
        if not self._counts:
            return False
        kinds = waiting.kinds()
        demands = self._demands([w for w in workers if not w.released], waiting, set(kinds))
        return any(starved(demands[kind]) for kind in kinds) and any(worker.ready and self._is_ripe(worker) for worker in workers)

    def _is_ripe(self, worker: WorkerProcess) -> bool:
        return ripe(time.monotonic() - worker.up_since, max((c.cold_s or 0.2 for c in self._counts.values()), default=0.2))

    def _can_start(self, kind: str) -> bool:
        if not kind:
            return True
        counts = self._of(kind)
        verdict = self._images.look(kind, self._acts.wake)
        if isinstance(verdict, ContainerError):
            self._acts.refuse(kind, verdict)
            return False
        return verdict and time.monotonic() >= counts.not_before

    def _demands(self, held: Sequence[WorkerProcess], waiting: Waiting, able: set[str]) -> dict[str, Demand]:
        now = time.time()
        found: dict[str, Demand] = {}
        for kind in {*able, *(worker.kind for worker in held)}:
            mine = [worker for worker in held if worker.kind == kind]
            idle = [worker.idle_since for worker in mine if worker.ready and not worker.jobs]
            queue = waiting.of(kind)
            counts = self._counts.get(kind) or Counts()
            found[kind] = Demand(
                len(queue) if kind in able else 0, len(mine), sum(not w.announced for w in mine), len(idle),
                sum(w.ready and not w.jobs and self._is_ripe(w) for w in mine),
                time.monotonic() - min(idle) if idle else 0.0, max(0.0, now - queue.peek().received) if queue else 0.0,
                counts.run_s, counts.cold_s or 0.2)
        return found

    def _start(self, step: Step) -> None:
        if step.start:
            self._of(step.start).cold_starts += 1
        self.spawn(step.start)

    def spawn(self, kind: str = "") -> WorkerProcess | None:
        """Start a worker; None: that was not possible, or the engine is stopping."""
        try:
            worker = self._acts.spawn(kind, self._starter(kind))
        except OSError as exc:
            if not kind:
                raise
            self._give_up(kind, ContainerError(
                f"the container runtime of endpoint {self._endpoint!r} cannot be run: {exc}", hint="see containers.runtime in its config.yaml"))
            return None
        self._starting[kind] += worker is not None
        return worker

    def _count_release(self, kind: str) -> None:
        if kind:
            self._of(kind).released += 1

    def prefetch(self, image: str) -> None:
        """Start a container ahead of any task, once its image is known to be there."""
        verdict = self._images.look(image, lambda: self.prefetch(image))
        if isinstance(verdict, ContainerError):
            log.warning("cannot prefetch: %s", verdict)
            self.spawn()
        elif verdict:
            worker = self.spawn(image)
            if worker is not None:
                self._of(image).prefetched += 1
                worker.fresh = False

    def release_idle(self, workers: Sequence[WorkerProcess]) -> None:
        """Let containers go that had nothing to do for the configured time, and give up those that never came up."""
        now = time.monotonic()
        for worker in workers:
            if not worker.kind or worker.released:
                continue
            if worker.ready and not worker.jobs and now - worker.idle_since >= self._config.idle_timeout_s:
                self._acts.release(worker)
                self._count_release(worker.kind)
            elif not worker.announced and now - worker.started >= self._config.start_timeout_s:
                worker.kill()

    # ------------------------------------------------------------ reports

    def details(self, workers: Sequence[WorkerProcess]) -> dict[str, object]:
        """Ready workers by kind, and what happened with each image: plain data."""
        warm: dict[str, int] = {}
        for worker in workers:
            if worker.ready:
                warm[worker.kind] = warm.get(worker.kind, 0) + 1
        if not self._counts:
            return {"warm": warm}
        names = ("cold_starts", "prefetched", "tasks", "warm", "released", "failed_starts")
        images = {
            image: {**{name: getattr(c, name) for name in names}, "start_s": None if c.cold_s is None else round(c.cold_s, 3)}
            for image, c in self._counts.items() if image}
        totals = {name: sum(getattr(c, name) for c in self._counts.values()) for name in names}
        return {"warm": warm, "containers": {"runtime": self._config.runtime, "routing": self._config.routing, **totals, "images": images}}

    @property
    def in_use(self) -> bool:
        """Whether any container was ever wanted."""
        return bool(self._counts)

    async def close(self) -> None:
        """Ask for nothing more; all workers are gone."""
        await self._images.close()
        self._channels.close()
