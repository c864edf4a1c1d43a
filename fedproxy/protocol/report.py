"""What an endpoint tells of itself with its heartbeats, beyond the counts that routing needs. For people and dashboards: nothing is decided by it."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen


@frozen
class RedisReport:
    """One server of the endpoint's Redis."""

    address: str
    state: str
    """up, loading, silent (runs but does not answer) or down (being restarted)."""
    pid: int = 0
    restarts: int = 0
    used_bytes: int = 0
    limit_bytes: int = 0
    keys: int = 0
    evicted: int = 0
    version: str = ""


@frozen
class CacheReport:
    """One cache of the endpoint's node."""

    name: str
    objects: int
    size_bytes: int


@frozen
class Report:
    """How an endpoint is doing. Counts are now or since the agent started; times in seconds, sizes in bytes."""

    started: float = 0.0
    """The agent's clock, seconds since the epoch."""
    managers: int = 1
    """Processes or nodes that look after workers."""
    busy: int = 0
    warm: dict[str, int] = field(factory=dict)
    """Container (empty: none) → workers that are ready for it."""
    walltime_left_s: float | None = None
    """Until the batch job that ends first ends; None: no limit known."""
    held: int = 0
    """Tasks that the agent answers for."""
    ended: dict[str, int] = field(factory=dict)
    """State → tasks."""
    cpu_s: float = 0.0
    """Used by tasks."""
    written_bytes: int = 0
    """Results that went to stores."""
    staged_bytes: int = 0
    """Brought here ahead of tasks."""
    caches: tuple[CacheReport, ...] = ()
    engine: dict[str, Any] = field(factory=dict)
    """What the engine says of itself at length."""
    redis: tuple[RedisReport, ...] = ()
