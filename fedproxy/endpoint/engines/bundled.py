"""An engine over any executor: bundles of tasks go out by a *carrier*, are claimed over the relay, and are answered task by task.

Strategy: the carrier is only trusted to start `run_bundle` somewhere. Whatever it loses, repeats or fails is judged by what was granted
(see `bundles`), so HTEX, Dask and loky keep the same contract.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Protocol

from msgspec.structs import replace

from fedproxy.config.containers import Containers
from fedproxy.endpoint import strategy
from fedproxy.endpoint.engines.base import Callbacks, Catalog, Job, Load
from fedproxy.endpoint.engines.bundles import BundleLimits, Flights, fair_share, take_bundle
from fedproxy.endpoint.engines.endings import unanswered
from fedproxy.endpoint.engines.relay import Relay, RelayAddress
from fedproxy.endpoint.engines.waiting import reprioritize
from fedproxy.protocol import messages as m
from fedproxy.protocol import worker_messages as w
from fedproxy.protocol.codec import Buffer, encode
from fedproxy.protocol.flow import smoothed
from fedproxy.protocol.ranked import Ranked
from fedproxy.protocol.states import TaskState

log = logging.getLogger(__name__)

_BUNDLES_PER_WORKER = 2
"""One that runs and one that waits for it at the carrier: no worker waits for the agent."""
_MISSING_S = 10.0
_CHECK_S = 2.0
_RETRY_S = 0.5
_RETRY_MOST_S = 30.0


class Passenger(Protocol):
    """Whom a carrier works for. Called on the loop's thread."""

    def landed(self, number: int, error: BaseException | None) -> None:
        """A bundle is over, or has failed."""

    def changed(self) -> None:
        """There are more places, or fewer."""

    def pending(self, age_s: float) -> int:
        """Tasks that no worker has and that have waited for so long."""

    def running(self) -> int:
        """Workers that are busy."""


class Carrier(Protocol):
    """Starts `run_bundle` somewhere."""

    @property
    def places(self) -> int:
        """Workers that there are or that are on their way."""

    @property
    def workers(self) -> int:
        """Workers that there are."""

    @property
    def blocks(self) -> int:
        """Blocks that are held."""

    @property
    def problem(self) -> str:
        """What is wrong, in words."""

    def start(self, passenger: Passenger) -> None:
        """Begin; returns without waiting."""

    def send(self, number: int, buffer: bytes, relay: RelayAddress) -> None:
        """Start a bundle; `Passenger.landed` follows."""

    def wanted(self) -> None:
        """Tasks wait, and all places are taken."""

    def details(self) -> Mapping[str, object]:
        """For status reports."""

    async def stop(self) -> None:
        """End everything that was started, batch jobs too."""


class BundledEngine:
    """Jobs over a carrier."""

    def __init__(self, carrier: Carrier, catalog: Catalog, callbacks: Callbacks, bind: str, hosts: tuple[str, ...],
                 containers: Containers = Containers(), limits: BundleLimits = BundleLimits()) -> None:  # noqa: B008 - frozen
        self._carrier, self._catalog, self._callbacks, self._limits = carrier, catalog, callbacks, limits
        self._bind, self._hosts, self._containers = bind, hosts, containers
        self._loop = asyncio.get_running_loop()
        self._relay = Relay(catalog, self)
        self._address: RelayAddress | None = None
        self._waiting: Ranked[Job] = Ranked()
        self._flights = Flights()
        self._run_s: dict[bytes, float] = {}
        self._cancelled: dict[bytes, bytes] = {}
        """Task to be stopped → the worker that has it."""
        self._failures = 0
        self._not_before = 0.0
        self._problem = self._mismatch = ""
        self._filling = self._stopping = False

    # ------------------------------------------------------------ engine

    async def start(self) -> None:
        """Listen for workers and start the carrier."""
        self._address = self._relay.open(self._bind, self._hosts, self._containers)
        self._carrier.start(self)
        self._check()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs and fill the places."""
        for job in jobs:
            self._waiting.push(job, job.task.priority)
        self.changed()

    def reprioritize(self, priorities: Mapping[bytes, int]) -> None:
        """Put waiting jobs behind those of their new priorities; what is on its way to a worker stays there."""
        reprioritize(self._waiting, priorities)

    def cancel(self, task_id: bytes) -> None:
        """End a job that nobody claimed; tell the worker that has it otherwise."""
        for job in self._waiting.take_out(lambda job, _priority: job.task.id == task_id):
            self._end(job, TaskState.CANCELLED, "cancelled before it started", started=False)
            return
        if task_id not in self._flights:
            return
        holder = self._flights.holder(task_id)
        if holder is not None:
            self._cancelled[task_id] = holder
            self._relay.cancel(holder, task_id)
            return
        for job in self._flights.drop(task_id):
            self._end(job, TaskState.CANCELLED, "cancelled before it started", started=False)

    def load(self) -> Load:
        """Counts, and what is wrong."""
        carrier = self._carrier
        idle = max(0, carrier.workers - self._flights.running)
        return Load(carrier.workers, idle, len(self._waiting) + self._flights.unclaimed, carrier.blocks, self._said())

    def _said(self) -> str:
        return self._carrier.problem or self._problem or self._mismatch

    def details(self) -> Mapping[str, object]:
        """What the carrier says, and the bundles under way."""
        bundles = {"running": self._flights.running, "queued": self._flights.queued}
        return {**self._carrier.details(), "bundles": bundles, "problem": self._said()}

    async def stop(self) -> None:
        """Stop the carrier; every job ends."""
        self._stopping = True
        waiting, self._waiting = list(self._waiting), Ranked()
        for number in self._flights.numbers():
            waiting += self._flights.land(number)[0]
        for job in waiting:
            self._end(job, TaskState.LOST, "the endpoint was stopped before it started", started=False)
        self._relay.dismiss()
        await self._carrier.stop()
        for number in self._flights.numbers():
            self._lose(self._flights.give_up(number), "the endpoint was stopped")
        self._relay.close()

    # ------------------------------------------------------------ sending

    def changed(self) -> None:
        """Look for places soon: what comes until then goes along."""
        if not self._filling and not self._stopping:
            self._filling = True
            self._loop.call_soon(self._fill)

    def _fill(self) -> None:
        self._filling = False
        if self._stopping or self._loop.time() < self._not_before:
            return
        free = self._carrier.places * _BUNDLES_PER_WORKER - len(self._flights)
        while self._waiting and free > 0 and (free > self._carrier.places or self._worth_sending_ahead()):
            jobs = take_bundle(self._waiting, self._expected_s, fair_share(len(self._waiting), free), self._limits)
            self._send(jobs)
            free -= 1
        if self._waiting:
            self._carrier.wanted()

    def _worth_sending_ahead(self) -> bool:
        """All workers have a bundle. Short calls had better wait until the next is full, or a worker is free: a delivery costs more than they do."""
        run_s = self._expected_s(self._waiting.peek())
        return run_s is None or run_s * len(self._waiting) >= self._limits.cover_s / 2 or len(self._waiting) >= self._limits.most / 4

    def _send(self, jobs: list[Job]) -> None:
        assert self._address is not None
        bundle = self._flights.send(jobs, self._loop.time())
        parts: list[Buffer] = [encode(m.Tasks({}, (), tuple(job.task for job in jobs))), *(job.payload for job in jobs)]
        self._carrier.send(bundle.number, b"".join(parts), self._address)

    def _expected_s(self, job: Job) -> float | None:
        return self._run_s.get(self._catalog.spec(job.task.spec).function)

    # ------------------------------------------------------------ what workers say

    def claimed(self, peer: bytes, claim: w.Claim) -> tuple[bytes, ...]:
        """Grant what is still wanted; from here on it may have started."""
        before = self._flights.claimant(claim.bundle)
        if before not in (None, peer):
            self._lose(self._flights.give_up(claim.bundle), "its executor has started it anew on another worker")
        granted, fresh = self._flights.claim(peer, claim.bundle, claim.attempts, self._loop.time())
        self._failures, self._problem = 0, ""
        if fresh:
            self._callbacks.handed([job.task.id for job in fresh])
        return tuple(job.task.id for job in granted)

    def answered(self, outcome: m.Outcome, body: bytes) -> None:
        """The first answer for an attempt counts."""
        under_way = len(self._flights)
        job = self._flights.end(outcome.id, outcome.attempt)
        if len(self._flights) < under_way:  # its bundle had landed before its last answer came: only now is there a place
            self.changed()
        self._cancelled.pop(outcome.id, None)
        if job is None:
            return
        _, started, ended, _ = outcome.times
        if started:
            function = self._catalog.spec(job.task.spec).function
            self._run_s[function] = smoothed(self._run_s.get(function), ended - started)
        self._callbacks.ended(replace(outcome, times=(job.received, started, ended, time.time())), body)

    def returned(self, peer: bytes, ids: Sequence[bytes]) -> None:
        """Not started there: another worker may have them."""
        self._put_back(self._flights.take_back(peer, ids))

    def joined(self, peer: bytes, python: str) -> None:
        """Connected (again): what it was to stop it may not have heard."""
        if python.split(".")[:2] != [str(part) for part in sys.version_info[:2]]:
            self._mismatch = f"workers run Python {python}, this endpoint {sys.version.split()[0]}: what clients send may not work there"
            log.warning("%s (%s)", self._mismatch, peer.decode(errors="replace"))
        for task_id, holder in self._cancelled.items():
            if holder == peer:
                self._relay.cancel(peer, task_id)

    def left(self, peer: bytes, reason: str) -> None:
        """It has killed what it ran."""
        self._lose(self._flights.lost_with(peer), f"its worker ended: {reason}")

    # ------------------------------------------------------------ what the carrier says

    def landed(self, number: int, error: BaseException | None) -> None:
        """What nobody claimed goes again; what was granted and is not answered is waited for, or lost with the worker."""
        unclaimed, missing = self._flights.land(number)
        if self._stopping:
            for job in unclaimed:
                self._end(job, TaskState.LOST, "the endpoint was stopped before it started", started=False)
            return
        if unclaimed and error is not None:
            self._slow_down(error)
        self._put_back(unclaimed)
        if missing and error is not None:
            self._lose(self._flights.give_up(number), f"its worker was lost: {_short(error)}")
        elif missing:
            self._loop.call_later(_MISSING_S, self._miss, number)
        self.changed()

    def pending(self, age_s: float) -> int:
        """Tasks that no worker has and that have waited for so long."""
        if not age_s:
            return len(self._waiting) + self._flights.unclaimed
        received = (job.received for job in chain(self._flights.unclaimed_jobs(), self._waiting))
        return strategy.older_than(received, age_s, time.time())

    def running(self) -> int:
        """Workers that are busy."""
        return self._flights.running

    def _slow_down(self, error: BaseException) -> None:
        """Bundles fail before anything starts: try again, less and less often."""
        self._failures += 1
        self._problem = f"bundles fail before they start: {_short(error)}"
        delay_s = min(_RETRY_MOST_S, _RETRY_S * 2 ** min(self._failures, 10))
        self._not_before = self._loop.time() + delay_s
        self._loop.call_later(delay_s, self.changed)
        log.warning("%s; next try in %.1f s", self._problem, delay_s)

    def _put_back(self, jobs: list[Job]) -> None:
        for job in reversed(jobs):
            self._waiting.push_front(job, job.task.priority)
        if jobs:
            self.changed()

    def _miss(self, number: int) -> None:
        self._lose(self._flights.give_up(number), "its worker says that it is over, but did not answer")

    def _check(self) -> None:
        """Now and then: bundles that got lost on their way."""
        if self._stopping:
            return
        for number in self._flights.overtaken(self._loop.time(), _MISSING_S):
            log.warning("bundle %d got lost on its way and is sent again", number)
            self._put_back(self._flights.land(number)[0])
        self._loop.call_later(_CHECK_S, self._check)

    # ------------------------------------------------------------ ends

    def _lose(self, jobs: Iterable[Job], reason: str) -> None:
        for job in jobs:
            self._end(job, TaskState.LOST, f"it may have started: {reason}")
        self.changed()

    def _end(self, job: Job, state: TaskState, reason: str, *, started: bool = True) -> None:
        self._cancelled.pop(job.task.id, None)
        self._callbacks.ended(*unanswered(job, state, reason, started=started))


def _short(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) < 500 else f"{text[:250]} ... {text[-250:]}"
