"""The blocks of a provider: what is known of them, and what follows. Pure; monotonic times are passed in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, field, frozen

from fedproxy.config.endpoint import Scaling
from fedproxy.endpoint.strategy import Limits, Unit

_AGAIN_S = 1.0
_AGAIN_MOST_S = 300.0
_KEPT_BAD = 3
_SLOW_S = 120.0
"""A block that runs for so long without a manager is worth a word."""


@frozen
class ManagerSeen:
    """A node's manager, as the interchange sees it."""

    name: str
    block: str
    workers: int
    tasks: int
    idle_s: float


@frozen
class JobSeen:
    """A block, as the provider sees it."""

    block: str
    job: str
    state: str
    over: bool
    message: str = ""


@define
class Block:
    """One block."""

    name: str
    job: str
    asked: float
    state: str = "PENDING"
    managers: int = 0
    workers: int = 0
    tasks: int = 0
    idle_since: float | None = None
    connected: bool = False
    """Whether a manager of it has ever been seen."""
    running_since: float | None = None


@define
class Blocks:
    """All that are held."""

    _scaling: Scaling
    limits: Limits = field(factory=Limits)
    ask_every_s: float = 60.0
    """Seconds between two questions to the batch system."""
    problem: str = ""
    """What is wrong now; gone when a block connects."""
    bad: int = 0
    """Blocks that never connected, of all that there have been."""
    _latest_bad: list[str] = field(factory=list)
    _held: dict[str, Block] = field(factory=dict)
    _over: set[str] = field(factory=set)
    _failures: int = 0
    _not_before: float = 0.0
    _walltime_s: float | None = None

    def __len__(self) -> int:
        return len(self._held)

    def begin(self, provider: Any, workers_per_block: int) -> None:
        """A new executor has none yet. What is wrong stays said until a block connects."""
        parallelism = min(self._scaling.parallelism, float(provider.parallelism))
        self.limits = Limits(provider.min_blocks, provider.max_blocks, max(1, workers_per_block, self.limits.workers_per_unit), parallelism)
        self.ask_every_s = min(float(provider.status_polling_interval), self._scaling.status_s)
        self._walltime_s = _seconds(getattr(provider, "walltime", None))
        self.end()

    def end(self) -> None:
        """The executor is gone, and all blocks with it."""
        self._held.clear()
        self._over.clear()

    @property
    def workers(self) -> int:
        """Workers that are connected."""
        return sum(block.workers for block in self._held.values())

    @property
    def places(self) -> int:
        """The same, and those that blocks on their way will bring."""
        return sum(block.workers if block.connected else self.limits.workers_per_unit for block in self._held.values())

    def jobs(self) -> list[str]:
        """Ids of the batch jobs."""
        return [block.job for block in self._held.values() if block.job]

    def asked(self, jobs: Iterable[JobSeen], now: float) -> None:
        """Blocks were asked for; those that the provider refused are over already."""
        self._see_jobs(jobs, now)

    def observe(self, managers: Iterable[ManagerSeen], jobs: Iterable[JobSeen], now: float) -> None:
        """Take note of what is there."""
        for block in self._held.values():
            block.managers = block.workers = block.tasks = 0
            block.idle_since = None
        for manager in managers:
            held = self._held.get(manager.block)
            if held is not None:
                self._see_manager(held, manager, now)
        self._see_jobs(jobs, now)
        widest = max((block.workers for block in self._held.values()), default=0)
        if widest > self.limits.workers_per_unit:
            self.limits = Limits(self.limits.min_units, self.limits.max_units, widest, self.limits.parallelism)

    def _see_manager(self, block: Block, manager: ManagerSeen, now: float) -> None:
        block.managers += 1
        block.workers += manager.workers
        block.tasks += manager.tasks
        idle_since = now - manager.idle_s
        block.idle_since = idle_since if block.idle_since is None else max(block.idle_since, idle_since)
        if not block.connected:
            block.connected = True
            self._failures, self.problem = 0, ""

    def _see_jobs(self, jobs: Iterable[JobSeen], now: float) -> None:
        for job in jobs:
            if job.block in self._over:
                continue
            if job.over:
                self._over.add(job.block)
                self._ended(self._held.pop(job.block, None), job, now)
                continue
            block = self._held.setdefault(job.block, Block(job.block, job.job, now))
            block.state = job.state
            if job.state == "RUNNING" and block.running_since is None:
                block.running_since = now
            if block.running_since is not None and not block.connected and now - block.running_since > _SLOW_S:
                self.problem = f"block {job.block} (job {job.job}) runs, but no manager has connected: can its nodes reach this machine?"

    def _ended(self, block: Block | None, job: JobSeen, now: float) -> None:
        """A block that never connected is a bad one: the next is asked for later and later. It costs no task."""
        if job.state in ("SCALED_IN", "CANCELLED") or (block is not None and block.connected):
            return
        self._failures += 1
        self._not_before = now + min(_AGAIN_MOST_S, _AGAIN_S * 2 ** (self._failures - 1))
        self.problem = f"block {job.block}{f' (job {job.job})' if job.job else ''} ended {job.state} before any worker connected: {job.message}"
        self.bad += 1
        self._latest_bad = [*self._latest_bad[1 - _KEPT_BAD:], self.problem]

    def may_grow(self, now: float) -> bool:
        """Whether another block may be asked for now."""
        return now >= self._not_before

    def forget(self, released: Iterable[str]) -> None:
        """These were let go."""
        for name in released:
            self._held.pop(name, None)
            self._over.add(name)

    def units(self, wanted: bool, now: float) -> list[Unit]:
        """For the strategy. One that has not connected is of use for as long as there is something to do."""
        return [Unit(block.name, self._idle_since(block, wanted, now)) for block in self._held.values()]

    @staticmethod
    def _idle_since(block: Block, wanted: bool, now: float) -> float | None:
        if block.connected:
            return None if block.tasks or block.idle_since is None else block.idle_since
        if wanted:
            block.asked = now
        return block.asked

    def walltime_left_s(self, now: float) -> float | None:
        """Seconds that the block which ends first has left."""
        begun = [block.running_since for block in self._held.values() if block.running_since is not None]
        return max(0.0, min(begun) + self._walltime_s - now) if begun and self._walltime_s is not None else None

    def details(self, now: float) -> dict[str, object]:
        """For status reports."""
        shown = [{"block": b.name, "job": b.job, "state": b.state, "managers": b.managers, "workers": b.workers, "busy": b.tasks} for b in self._held.values()]
        left = self.walltime_left_s(now)
        more = {} if left is None else {"walltime_left_s": left}
        bad = {"bad_blocks": self.bad, "latest_bad_blocks": self._latest_bad} if self.bad else {}
        return {"blocks": shown, "managers": sum(block.managers for block in self._held.values()), **bad, **more}


def _seconds(walltime: object) -> float | None:
    if not isinstance(walltime, str):
        return None
    try:
        parts = [int(part) for part in walltime.split(":")]
    except ValueError:
        return None
    return float(sum(part * 60 ** i for i, part in enumerate(reversed(parts))))
