"""The local engine: warm worker processes on this node.

Strategy: pipes, not ZeroMQ (a wake-up across a pipe costs a sixth). A worker gets its next job only when it is idle, unless the calls are
known to be so short that the round trip would dominate; then it is filled ahead (see `Ahead`). A dead worker is seen by its process
descriptor, within milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from fedproxy.config.containers import Containers
from fedproxy.config.endpoint import LocalEngine as LocalConfig
from fedproxy.config.workers import accelerators
from fedproxy.endpoint.berth import Berths
from fedproxy.endpoint.engines.base import Callbacks, Catalog, Job, Load
from fedproxy.endpoint.engines.endings import refused, unanswered
from fedproxy.endpoint.engines.launch import Bare, Starter
from fedproxy.endpoint.engines.memory import MEMORY_PERIOD_S, MemoryWatch
from fedproxy.endpoint.engines.pool import Acts, Pool
from fedproxy.endpoint.engines.process import Doom, WorkerProcess
from fedproxy.endpoint.engines.scaling import Scaling, View
from fedproxy.endpoint.engines.shares import Shares
from fedproxy.endpoint.engines.waiting import Waiting, reprioritize
from fedproxy.endpoint.surroundings import LAUNCHER
from fedproxy.errors import ContainerError, EndpointError, ResourcesError
from fedproxy.protocol import messages as m
from fedproxy.protocol import worker_messages as w
from fedproxy.protocol.codec import decode, split
from fedproxy.protocol.flow import Ahead, smoothed
from fedproxy.protocol.ranked import Ranked
from fedproxy.protocol.resources import NOTHING, Capacity, launch_prefix, shortage
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import serialize_exception

log = logging.getLogger(__name__)

_START_FAILURES = 5
_RESTART_DELAY_S = 1.0
_TIDY_S = 1.0
_TURN_S = 0.01


class LocalEngine:
    """Between ``min_workers`` and ``max_workers`` processes, replaced when they die."""

    def __init__(self, config: LocalConfig, directory: Path, catalog: Catalog, callbacks: Callbacks,
                 containers: Containers = Containers(), ahead: Ahead = Ahead()) -> None:  # noqa: B008 - frozen
        self._logs, self._catalog, self._callbacks, self._ahead = directory / "workers", catalog, callbacks, ahead
        self._workers: list[WorkerProcess] = []
        self._waiting = Waiting(lambda job: catalog.spec(job.task.spec).container)
        self._prefetch = containers.prefetch
        self._pool = Pool(containers, directory.name, directory, Acts(self._spawn, self._release, self._refuse, self._fill_soon))
        self._pool_timer: asyncio.TimerHandle | None = None
        self._scaling = Scaling(config, View(lambda: self._workers, lambda: self._waiting.of("")), self._pool.spawn, self._release)
        self._limits = self._scaling.limits
        devices = accelerators(config.available_accelerators)
        self._shares = Shares(Capacity(config.cores, config.memory_mb, len(devices)), devices)
        launch_prefix(config.mpi_launcher, NOTHING)
        os.environ[LAUNCHER] = config.mpi_launcher  # its workers inherit it
        self._berths = Berths(config)
        self._tasks_per_worker = config.tasks_per_worker
        self._memory = MemoryWatch(config)
        self._run_s: dict[bytes, float] = {}
        self._numbers = 0
        self._failed_starts, self._problem = 0, ""
        self._stopping = self._filling = False
        self._removals: set[asyncio.Future[None]] = set()
        self._all_gone = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Start as many workers as are always held; they announce themselves when they are ready."""
        self._logs.mkdir(parents=True, exist_ok=True)
        for image in self._prefetch:
            self._pool.prefetch(image)
        for _ in range(self._limits.min_units - len(self._prefetch)):
            self._pool.spawn()
        self._scaling.look()
        self._tidy()
        self._watch_memory()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs and fill the workers."""
        for job in jobs:
            self._waiting.push(job, job.task.priority)
        self._fill()
        if self._waiting:
            self._scaling.look()

    def reprioritize(self, priorities: Mapping[bytes, int]) -> None:
        """Put waiting jobs behind those of their new priorities."""
        self._unblock(self._shares.unblock())
        self._fill_soon()
        reprioritize(self._waiting, priorities)

    def cancel(self, task_id: bytes) -> None:
        """End a waiting job, or kill the worker that runs it; jobs behind it on that worker are given to another, the one before it goes on."""
        for job in self._waiting.take_out(lambda job, _priority: job.task.id == task_id):
            self._end(job, TaskState.CANCELLED, "cancelled before it started", started=False)
            return
        for job in [job for job in self._shares.blocked if job.task.id == task_id]:
            self._shares.blocked.remove(job)
            self._end(job, TaskState.CANCELLED, "cancelled before it started", started=False)
            self._unblock(self._shares.unblock())
            self._fill_soon()
            return
        for worker in self._workers:
            if any(job.task.id == task_id for job in worker.jobs):
                self._cancel_at(worker, task_id)
                return

    def _cancel_at(self, worker: WorkerProcess, task_id: bytes) -> None:
        """Kill the worker once it runs the job, and not one before it."""
        if worker.jobs and worker.jobs[0].task.id == task_id:
            worker.stop(Doom(task_id, TaskState.CANCELLED, "cancelled while it ran"))
        elif any(job.task.id == task_id for job in worker.jobs):
            self._loop.call_later(_TURN_S, self._cancel_at, worker, task_id)
        else:
            self.cancel(task_id)  # it has ended, or waits again because its worker died

    def written(self) -> Iterator[m.Piece]:
        """What running tasks wrote since the last call."""
        for worker in self._workers:
            if worker.jobs:
                yield from worker.written.pieces(worker.jobs[0].task.id, worker.jobs[0].task.attempt)

    def place(self, task_id: bytes) -> m.Place | None:
        """How far a job is; None if the engine does not have it."""
        for at, jobs in (("waiting", self._waiting), ("blocked", self._shares.blocked)):
            for position, job in enumerate(jobs):
                if job.task.id == task_id:
                    return m.Place(task_id, at, position)
        for worker in self._workers:
            for position, job in enumerate(worker.jobs):
                if job.task.id == task_id:
                    begun = time.monotonic() - worker.busy_since if position == 0 else 0.0
                    return m.Place(task_id, "waiting" if position else "running", position, begun, f"worker {worker.pid}")
        return None

    def load(self) -> Load:
        """Counts of workers and waiting jobs."""
        ready = [worker for worker in self._workers if worker.ready]
        return Load(len(ready), sum(not worker.jobs for worker in ready), len(self._waiting) + len(self._shares.blocked), problem=self._problem)

    def details(self) -> Mapping[str, object]:
        """Each worker: process id, whether it has announced itself, how many jobs it holds."""
        return {"workers": [worker.details() for worker in self._workers], **self._pool.details(self._workers), "problem": self._problem}

    async def stop(self) -> None:
        """Kill all workers; every job ends."""
        self._stopping = True
        self._scaling.stop()
        if self._pool_timer is not None:
            self._pool_timer.cancel()
        for job in (*self._shares.unblock(), *self._waiting.take_all()):
            self._end(job, TaskState.LOST, "the endpoint was stopped before it started", started=False)
        for worker in list(self._workers):
            worker.kill()
        if self._workers:
            await self._all_gone.wait()
        if self._removals:
            await asyncio.wait(self._removals)
        await self._pool.close()

    def withdraw(self) -> list[Job]:
        """Give up the jobs that wait while every worker is busy: somebody else may have them. They do not end here."""
        if any(not worker.jobs for worker in self._workers):
            return []
        return self._waiting.take_all()

    # ------------------------------------------------------------ elasticity

    def _release(self, worker: WorkerProcess) -> None:
        worker.released, worker.ready = True, False
        self._pool.leave(worker)
        worker.kill()

    def _tidy(self) -> None:
        """Now and then, look for containers that are of no use."""
        self._pool.release_idle(self._workers)
        self._pool_timer = self._loop.call_later(_TIDY_S, self._tidy)

    def _refuse(self, kind: str, error: ContainerError) -> None:
        """None of the jobs that want this container can run."""
        for job in self._waiting.take_all(kind):
            self._fail(job, error)

    def _watch_memory(self) -> None:
        """Now and then, look for tasks whose processes together take more than a worker may."""
        if self._stopping or not self._memory.limit_bytes:
            return
        for worker in self._workers:
            if worker.jobs and not worker.kind and self._memory.is_over(worker.pid):
                worker.stop(Doom(worker.jobs[0].task.id, TaskState.FAILED, "out of memory", bytes(serialize_exception(self._memory.error()))))
        self._loop.call_later(MEMORY_PERIOD_S, self._watch_memory)

    # ------------------------------------------------------------ workers

    def _spawn(self, kind: str, starter: Starter) -> WorkerProcess | None:
        if self._stopping:
            return None
        self._numbers += 1
        if not kind:
            starter = Bare(self._berths.take(self._numbers))
        worker = WorkerProcess(self._numbers, self._logs, self._on_frame, self._on_death, kind, starter)
        self._workers.append(worker)
        return worker

    def _on_frame(self, worker: WorkerProcess, frame: memoryview) -> None:
        message, body = decode(frame)
        if isinstance(message, m.Results):
            for outcome, part in zip(message.items, split(body, (o.size for o in message.items)), strict=True):
                self._answered(worker, outcome, bytes(part))
        elif isinstance(message, w.Ready):
            worker.ready = worker.announced = True
            worker.idle_since = worker.up_since = time.monotonic()
            self._pool.ready(worker)
            worker.written.begins_at(message.wrote)
            self._failed_starts, self._problem = 0, ""
            log.info("worker %d is ready (%.2f s, Python %s)", worker.pid, time.monotonic() - worker.started, message.python)
        self._fill_soon()

    def _answered(self, worker: WorkerProcess, outcome: m.Outcome, body: bytes) -> None:
        job = worker.jobs.popleft()
        self._give_back(job)
        worker.busy_since = time.monotonic()
        if not worker.jobs:
            worker.idle_since = worker.busy_since
            if worker.doomed is None:
                self._pool.idle(worker)
        _, started, ended, _ = outcome.times
        function = self._catalog.spec(job.task.spec).function
        self._run_s[function] = smoothed(self._run_s.get(function), ended - started)
        self._pool.ran(worker.kind, ended - started)
        worker.written.told(outcome.output)
        worker.answered += 1
        times = (job.received, started, ended, time.time())
        self._callbacks.ended(m.Outcome(
            outcome.id, outcome.attempt, outcome.state, outcome.size, times, outcome.moved, again=outcome.again, refs=outcome.refs,
            ran=outcome.ran, output=outcome.output, reason=outcome.reason, used=outcome.used), body)
        if self._tasks_per_worker and worker.answered >= self._tasks_per_worker and not worker.kind:
            self._retire(worker)

    def _retire(self, worker: WorkerProcess) -> None:
        """It has run its number of tasks: nothing new is given to it, and another takes its place when it has answered what it has."""
        worker.ready = False
        if not worker.jobs:
            self._release(worker)

    def _on_death(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        self._berths.leave(worker.number)
        self._pool.gone(worker)
        if worker.removal is not None:
            self._removals.add(worker.removal)
            worker.removal.add_done_callback(self._removals.discard)
        jobs = list(worker.jobs)
        worker.jobs.clear()
        for job in jobs:
            self._give_back(job)
        reason = worker.epitaph()
        if not self._stopping and not worker.released:
            log.warning("%s", reason)
        doom = worker.doomed
        written = worker.written.output() if jobs else None
        if jobs and doom is not None and jobs[0].task.id == doom.task_id:
            self._end(jobs[0], doom.state, doom.reason, output=written, body=doom.body)
        elif jobs:
            self._end(jobs[0], TaskState.LOST, f"it may have started: {reason}", output=written)
        self._put_back(worker, jobs[1:])
        if self._stopping:
            if not self._workers:
                self._all_gone.set()
            return
        self._replace(worker)
        self._fill_soon()

    def _put_back(self, worker: WorkerProcess, jobs: list[Job]) -> None:
        """Jobs that the worker held but certainly had not begun: it answers each before it begins the next."""
        for job in reversed(jobs):
            if worker.doomed is not None and job.task.id == worker.doomed.task_id:
                self._end(job, TaskState.CANCELLED, "cancelled before it started", started=False)
            elif self._stopping:
                self._end(job, TaskState.LOST, "the endpoint was stopped before it started", started=False)
            else:
                self._waiting.push_front(job, job.task.priority)

    def _replace(self, worker: WorkerProcess) -> None:
        if worker.released or worker.kind or worker.ready:
            self._respawn()
            return
        self._failed_starts += 1
        if self._failed_starts == _START_FAILURES:
            self._problem = f"workers die while they start: {worker.epitaph()}"
            log.error("%s", self._problem)
        self._loop.call_later(_RESTART_DELAY_S, self._respawn)

    def _respawn(self) -> None:
        if len(self._workers) < self._limits.min_units:
            self._fill()  # what waits may want another container
            if len(self._workers) < self._limits.min_units:
                self._pool.spawn()
        else:
            self._scaling.look()

    # ------------------------------------------------------------ jobs

    def _fill_soon(self) -> None:
        if not self._filling and self._waiting:
            self._filling = True
            self._loop.call_soon(self._fill)

    def _fill(self) -> None:
        """Give waiting jobs to workers: to idle ones first, then ahead to those whose jobs are all short."""
        self._filling = False
        batches: dict[WorkerProcess, list[Job]] = {}
        alone = self._pool.in_use and self._pool.starved(self._workers, self._waiting)
        if alone:
            self._pool.deploy(self._workers, self._waiting, self._limits.max_units)
        for kind in self._waiting.kinds():
            self._fill_kind(kind, batches, alone=alone)
        if self._waiting and not self._stopping:
            self._pool.deploy(self._workers, self._waiting, self._limits.max_units)
        if batches:
            self._callbacks.handed([job.task.id for jobs in batches.values() for job in jobs])
            for worker, jobs in batches.items():
                worker.give(jobs, self._catalog)

    def _fill_kind(self, kind: str, batches: dict[WorkerProcess, list[Job]], *, alone: bool) -> None:
        """Give the jobs of one kind to its workers; ``alone``: no worker gets a second job while it has one."""
        queue = self._waiting.of(kind)
        while queue:
            job = queue.peek()
            spec = self._catalog.spec(job.task.spec)
            asks = spec.resources != NOTHING
            if asks and self._wait_for_room(queue, job, spec):
                continue
            depth = 1 if alone or asks or spec.walltime_s else self._ahead.depth(self._run_s.get(spec.function))
            worker = self._pick(kind, depth, batches)
            if worker is None:
                break
            if asks:
                job = job._replace(task=replace(job.task, accelerators=self._shares.take(job.task.id, spec.resources) or ()))
            if spec.walltime_s:
                self._loop.call_later(spec.walltime_s, self._time_is_up, worker, job.task.id, spec.walltime_s)
            queue.pop()
            if not worker.jobs:
                worker.busy_since = time.monotonic()
            worker.depth = min(worker.depth, depth) if worker.jobs else depth
            worker.jobs.append(job)
            self._pool.given(worker)
            batches.setdefault(worker, []).append(job)

    def _wait_for_room(self, queue: Ranked[Job], job: Job, spec: m.Spec) -> bool:
        """Take a job out of the queue if what it asks for is not free now, or never will be."""
        lacks = shortage(spec.resources, self._shares.capacity)
        if lacks:
            queue.pop()
            self._fail(job, ResourcesError(f"{spec.name} cannot run at this endpoint: {lacks}", hint="ask for less, or choose another endpoint"))
            return True
        if self._shares.has_room(spec.resources):
            return False
        queue.pop()
        self._shares.blocked.append(job)
        return True

    def _give_back(self, job: Job) -> None:
        """What a job took is free again: those that waited for it are first in their queues."""
        self._unblock(self._shares.give_back(job.task.id))

    def _unblock(self, jobs: list[Job]) -> None:
        for job in reversed(jobs):
            self._waiting.push_front(job, job.task.priority)

    def _fail(self, job: Job, error: EndpointError) -> None:
        """End a job that cannot run here, with an exception of ours."""
        self._callbacks.ended(*refused(job, error))

    def _time_is_up(self, worker: WorkerProcess, task_id: bytes, walltime_s: float) -> None:
        if worker.jobs and worker.jobs[0].task.id == task_id:
            worker.stop(Doom(task_id, TaskState.EXPIRED, f"it ran longer than its walltime of {walltime_s:g} s"))

    def _pick(self, kind: str, depth: int, batches: dict[WorkerProcess, list[Job]]) -> WorkerProcess | None:
        """An idle worker of the kind; else, for calls that are sent ahead, the one with the fewest jobs that may take one more.

        A worker filled ahead is topped up only when half of it is done.
        """
        idle = self._pool.pick(kind, len(self._waiting.of(kind)))
        if idle is not None or depth == 1:
            return idle
        best: WorkerProcess | None = None
        for worker in self._workers:
            held = len(worker.jobs)
            if not held or worker.kind != kind or not worker.ready or worker.doomed is not None or (best is not None and held >= len(best.jobs)):
                continue
            limit = min(depth, worker.depth)
            if held < (limit if worker in batches else limit // 2):
                best = worker
        return best

    def _end(self, job: Job, state: TaskState, reason: str, *, started: bool = True, output: m.Output | None = None, body: bytes = b"") -> None:
        self._callbacks.ended(*unanswered(job, state, reason, started=started, output=output, body=body))
