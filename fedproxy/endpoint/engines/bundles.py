"""Bundles: tasks that travel to a worker in one message. What goes into one, and what became of each; pure.

The rule that carries the contract: a bundle is only a delivery. Nothing in it starts before the worker has claimed it and the agent has granted
that, so what was never granted certainly never started and may be sent again, whatever became of the message; what was granted and is not
answered may have started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field, frozen

from fedproxy.endpoint.engines.base import Job
from fedproxy.protocol.ranked import Ranked


@frozen
class BundleLimits:
    """How much one bundle may hold."""

    cover_s: float = 0.05
    """Expected run time: enough to hide a delivery, little enough to share the work evenly."""
    most: int = 256
    size_bytes: int = 1024 * 1024


def take_bundle(waiting: Ranked[Job], expected_s: Callable[[Job], float | None], share: int, limits: BundleLimits) -> list[Job]:
    """Take the next bundle from ``waiting``; at least one job where there is one, at most ``share``.

    Only calls that are known to be short travel together: one of unknown length goes alone, and so does the first that would pass a limit.
    """
    bundle: list[Job] = []
    time_s, size = 0.0, 0
    while waiting and len(bundle) < max(1, min(share, limits.most)):
        job = waiting.peek()
        run_s = expected_s(job)
        if bundle and (run_s is None or time_s + run_s > limits.cover_s or size + len(job.payload) > limits.size_bytes):
            break
        bundle.append(waiting.pop()[0])
        if run_s is None:
            break
        time_s, size = time_s + run_s, size + len(job.payload)
    return bundle


def fair_share(waiting: int, free: int) -> int:
    """How many of the waiting tasks one of ``free`` places should get, so that none stays empty."""
    return -(-waiting // max(1, free))


@define
class Bundle:
    """One delivery, and those of its jobs that have not ended."""

    number: int
    sent: float
    jobs: dict[bytes, Job]
    unclaimed: set[bytes]
    peer: bytes | None = None
    """The worker that claimed it."""
    overtaken: float | None = None
    """When one that was sent later was claimed before it."""
    landed: bool = False
    """The carrier says that it is over; answers may still be on their way."""


@define
class Flights:
    """All bundles that are under way."""

    _bundles: dict[int, Bundle] = field(factory=dict)
    _bundle_of: dict[bytes, int] = field(factory=dict)
    _last: int = 0
    unclaimed: int = 0
    """Jobs that no worker has claimed."""

    def __len__(self) -> int:
        return len(self._bundles)

    def __contains__(self, task_id: bytes) -> bool:
        return task_id in self._bundle_of

    @property
    def running(self) -> int:
        """Bundles that a worker is busy with."""
        return sum(bundle.peer is not None and not bundle.landed for bundle in self._bundles.values())

    @property
    def queued(self) -> int:
        """Bundles that no worker has claimed."""
        return sum(bundle.peer is None for bundle in self._bundles.values())

    def unclaimed_jobs(self) -> Iterable[Job]:
        """Jobs on their way, oldest bundle first."""
        return (job for bundle in self._bundles.values() for task_id, job in bundle.jobs.items() if task_id in bundle.unclaimed)

    def send(self, jobs: list[Job], now: float) -> Bundle:
        """A new bundle."""
        self._last += 1
        by_id = {job.task.id: job for job in jobs}
        bundle = self._bundles[self._last] = Bundle(self._last, now, by_id, set(by_id))
        self._bundle_of.update(dict.fromkeys(by_id, self._last))
        self.unclaimed += len(by_id)
        return bundle

    def claim(self, peer: bytes, number: int, attempts: Iterable[tuple[bytes, int]], now: float) -> tuple[list[Job], list[Job]]:
        """What that worker may start, and of this what it could not before.

        A claim that is repeated (its answer was lost) is answered alike; of a bundle that was sent again under another number, or that
        another worker has claimed, nothing is granted.
        """
        bundle = self._bundles.get(number)
        if bundle is None or bundle.peer not in (None, peer):
            return [], []
        granted = [job for task_id, attempt in attempts if (job := bundle.jobs.get(task_id)) is not None and job.task.attempt == attempt]
        fresh = [job for job in granted if job.task.id in bundle.unclaimed]
        if bundle.peer is None:
            bundle.peer = peer
            for other in self._bundles.values():
                if other.peer is None and other.number < number and other.overtaken is None:
                    other.overtaken = now
        bundle.unclaimed.difference_update(job.task.id for job in fresh)
        self.unclaimed -= len(fresh)
        return granted, fresh

    def claimant(self, number: int) -> bytes | None:
        """The worker that has claimed a bundle."""
        bundle = self._bundles.get(number)
        return None if bundle is None else bundle.peer

    def holder(self, task_id: bytes) -> bytes | None:
        """The worker that may have started it; None: nobody has."""
        bundle = self._bundles[self._bundle_of[task_id]]
        return None if task_id in bundle.unclaimed else bundle.peer

    def end(self, task_id: bytes, attempt: int) -> Job | None:
        """The job that was answered; None where it is not under way (any more)."""
        bundle = self._bundles.get(self._bundle_of.get(task_id, 0))
        if bundle is None or bundle.jobs[task_id].task.attempt != attempt:
            return None
        return self._take(bundle, task_id)

    def drop(self, task_id: bytes) -> list[Job]:
        """A job that no worker may start any more, if nobody has."""
        bundle = self._bundles.get(self._bundle_of.get(task_id, 0))
        return [self._take(bundle, task_id)] if bundle is not None and task_id in bundle.unclaimed else []

    def take_back(self, peer: bytes, ids: Iterable[bytes]) -> list[Job]:
        """Jobs that a worker was granted and did not start."""
        return [self._take(self._bundles[self._bundle_of[i]], i) for i in ids if i in self._bundle_of and self.holder(i) == peer]

    def lost_with(self, peer: bytes) -> list[Job]:
        """A worker is gone: its jobs may have started."""
        return [self._take(bundle, i) for bundle in list(self._bundles.values()) if bundle.peer == peer for i in list(bundle.jobs)
                if i not in bundle.unclaimed]

    def land(self, number: int) -> tuple[list[Job], bool]:
        """The carrier is done with a bundle: its jobs that nobody claimed, and whether answers are still missing."""
        bundle = self._bundles.get(number)
        if bundle is None:
            return [], False
        bundle.landed = True
        unclaimed = [self._take(bundle, task_id) for task_id in list(bundle.jobs) if task_id in bundle.unclaimed]
        if not bundle.jobs:
            self._bundles.pop(number, None)
        return unclaimed, bool(bundle.jobs)

    def give_up(self, number: int) -> list[Job]:
        """Jobs of a bundle that were granted and will not be answered."""
        bundle = self._bundles.get(number)
        return [] if bundle is None else [self._take(bundle, i) for i in list(bundle.jobs) if i not in bundle.unclaimed]

    def overtaken(self, now: float, grace_s: float) -> list[int]:
        """Bundles that got lost on their way: nobody claimed them, though one that was sent later was claimed ``grace_s`` ago."""
        return [b.number for b in self._bundles.values() if b.peer is None and b.overtaken is not None and now - b.overtaken >= grace_s]

    def numbers(self) -> list[int]:
        """All that are under way, oldest first."""
        return list(self._bundles)

    def _take(self, bundle: Bundle, task_id: bytes) -> Job:
        del self._bundle_of[task_id]
        if task_id in bundle.unclaimed:
            bundle.unclaimed.discard(task_id)
            self.unclaimed -= 1
        job = bundle.jobs.pop(task_id)
        if not bundle.jobs and (bundle.landed or bundle.peer is None):
            del self._bundles[bundle.number]
        return job
