"""One object that a stager fetches: who waits for it, how far it is, what was tried."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from concurrent.futures import Future
from math import inf
from typing import Any

from attrs import define, field, frozen

from fedproxy.errors import DataLostError, FedproxyError, UnreachableSiteError
from fedproxy.transfer.objects import Wanted
from fedproxy.transfer.plan import Plan

QUEUED, MOVING, DONE, FAILED, CANCELLED = "queued", "moving", "done", "failed", "cancelled"
OVER = frozenset({DONE, FAILED, CANCELLED})


@define(eq=False)
class Entry:
    """One object on its way to this site, however many asked for it."""

    wanted: Wanted
    waiters: list[Future[None]] = field(factory=list)
    id: str = field(factory=lambda: secrets.token_hex(6))
    state: str = QUEUED
    source: str = ""
    route: str = ""
    explain: str = ""
    done: int = 0
    attempts: int = 0
    asked: int = 0
    tried: list[str] = field(factory=list)
    error: FedproxyError | None = None
    started: float = field(factory=time.time)
    ended: float = 0.0
    due: float = 0.0
    """Monotonic time before which it is not tried again."""
    since: float = field(factory=time.monotonic)
    stopped: bool = False
    """Nobody wants it any more, or somebody has asked for its end."""
    changed: bool = True
    """Whether the service has not been told of its state."""

    @property
    def unwanted(self) -> bool:
        """Whether to stop."""
        return self.stopped or (bool(self.waiters) and all(waiter.cancelled() for waiter in self.waiters))

    def problem(self, route: str, error: Exception) -> None:
        """One attempt failed."""
        message = error.message if isinstance(error, FedproxyError) else f"{type(error).__name__}: {error}"
        self.tried.append(f"{route}: {message}")
        self.error = error if isinstance(error, FedproxyError) else None

    def verdict(self, plan: Plan | None, seen: float | None) -> FedproxyError:
        """What to say in the end: the one error where there was one kind, else that the site cannot be reached."""
        if isinstance(self.error, DataLostError) or (self.error is not None and plan is not None and plan.options):
            return self.error
        site = self.wanted.origin.site or self.wanted.origin.store
        last = f"last heard of {time.time() - seen:.0f} s ago" if seen else "never heard of by this service"
        waited = f"tried for {time.monotonic() - self.since:.0f} s"
        tried = "; ".join(dict.fromkeys(self.tried)) or (plan.explain() if plan else "nothing")
        return UnreachableSiteError(
            f"site {site!r} cannot be reached from here ({last}, {waited}): {tried}", site=site,
            hint="is its endpoint running, and does it offer a route? see `fedproxy site show`")

    def as_report(self, destination: str, endpoint: str) -> dict[str, Any]:
        """What the service is told."""
        return {
            "id": self.id, "object": self.wanted.id, "destination": destination, "source": self.source or self.wanted.origin.site, "route": self.route,
            "size": self.wanted.size, "done": min(self.done, self.wanted.size or self.done), "state": self.state, "error": str(self.error or ""),
            "explain": self.explain, "attempts": self.attempts, "tasks": self.asked, "endpoint": endpoint, "started": self.started, "ended": self.ended}


@frozen
class BatchLimits:
    """What may go together at the most; its first object always may."""

    objects: int
    size_bytes: float = inf


def first_batch(queue: Iterable[Entry], now: float, limits: BatchLimits) -> list[Entry]:
    """The first that is due, and those behind it from the same site, up to the limits."""
    batch: list[Entry] = []
    size = 0
    for entry in queue:
        if (entry.due > now and not entry.unwanted) or (batch and entry.wanted.origin.site != batch[0].wanted.origin.site):
            continue
        size += entry.wanted.size
        if batch and (len(batch) >= limits.objects or size > limits.size_bytes):
            break
        batch.append(entry)
    return batch
