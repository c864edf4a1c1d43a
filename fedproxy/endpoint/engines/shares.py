"""Cores, memory and accelerators of this machine, and which task has how much of them. No clock, no processes."""

from __future__ import annotations

from collections.abc import Sequence

from fedproxy.endpoint.engines.base import Job
from fedproxy.protocol.resources import Capacity, Resources


class Shares:
    """What is taken. Tasks that ask for nothing have no part in it.

    Jobs that do not fit now wait here, in order; those behind them that ask for something wait too, so that a large one is not passed by for ever by
    small ones. Jobs that ask for nothing pass them by.
    """

    def __init__(self, capacity: Capacity, accelerators: Sequence[str] = ()) -> None:
        self.capacity = capacity
        self._free = list(accelerators)
        self._cores = 0.0
        self._memory_mb = 0
        self._taken: dict[bytes, tuple[Resources, tuple[str, ...]]] = {}
        self.blocked: list[Job] = []

    def has_room(self, wanted: Resources) -> bool:
        """Whether it could be taken now."""
        return not self.blocked and self._fits(wanted)

    def take(self, task_id: bytes, wanted: Resources) -> tuple[str, ...] | None:
        """Take what a task asks for; returns its accelerators, or None if that is not free now."""
        if self.blocked or not self._fits(wanted):
            return None
        mine, self._free = tuple(self._free[:wanted.gpus]), self._free[wanted.gpus:]
        self._cores += wanted.cores_per_node
        self._memory_mb += wanted.memory_mb
        self._taken[task_id] = wanted, mine
        return mine

    def _fits(self, wanted: Resources) -> bool:
        return (self._cores + wanted.cores_per_node <= self.capacity.cores + 1e-9 and self._memory_mb + wanted.memory_mb <= self.capacity.memory_mb
                and wanted.gpus <= len(self._free))

    def give_back(self, task_id: bytes) -> list[Job]:
        """A task is over, or is not run now after all: returns the jobs that may have room now, in order. Idempotent."""
        wanted, mine = self._taken.pop(task_id, (None, ()))
        if wanted is None:
            return []
        self._cores -= wanted.cores_per_node
        self._memory_mb -= wanted.memory_mb
        self._free = sorted([*self._free, *mine])
        return self.unblock()

    def unblock(self) -> list[Job]:
        """The jobs that wait here, in order: they are looked at again."""
        waiting, self.blocked = self.blocked, []
        return waiting
