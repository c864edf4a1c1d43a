"""The part of a node that one worker has for itself: accelerators, cores, memory. Pure, but for `settle`."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from contextlib import suppress

from attrs import field, frozen

from fedproxy.config.endpoint import LocalEngine
from fedproxy.config.sizes import size_bytes
from fedproxy.config.workers import accelerators
from fedproxy.endpoint.sandbox import MEMORY_VARIABLE

ACCELERATOR_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""NVIDIA, AMD and Intel: whichever the node has, the others are not looked at."""


def cores_for(policy: str, place: int, workers: int, cores: Sequence[int]) -> tuple[int, ...]:
    """The cores of the worker in ``place`` of ``workers``: neighbours (``block``), every so many (``alternating``), or all.

    With more workers than cores, several share one.
    """
    if policy == "none" or not cores:
        return tuple(cores)
    if workers >= len(cores):
        return (cores[place % len(cores)],)
    if policy == "alternating":
        return tuple(cores[place::workers])
    return tuple(cores[place * len(cores) // workers:(place + 1) * len(cores) // workers])


@frozen
class Berth:
    """Where one worker lies."""

    place: int
    environment: dict[str, str] = field(factory=dict)
    cores: tuple[int, ...] = ()
    """Empty: any."""
    memory_bytes: int = 0
    """0: no limit."""
    worker_init: str = ""

    def command(self, worker: Sequence[str]) -> list[str]:
        """The worker's command line, behind ``worker_init`` in the same process."""
        if not self.worker_init:
            return list(worker)
        return ["/bin/bash", "-c", f'{self.worker_init}\nexec "$@"', "fedproxy-worker", *worker]

    def settle(self, pid: int) -> None:
        """Hold a process that has just been started to its cores and memory. One that is gone already is passed over."""
        with suppress(ProcessLookupError):
            if self.cores:
                os.sched_setaffinity(pid, self.cores)
            if self.memory_bytes:
                # Data, not address space: what is shared (stores are mapped) does not count.
                resource.prlimit(pid, resource.RLIMIT_DATA, (self.memory_bytes, self.memory_bytes))


class Berths:
    """All of a node's. A worker that is gone leaves its place to the next."""

    def __init__(self, config: LocalEngine, cores: Sequence[int] | None = None) -> None:
        self._config = config
        self._cores = sorted(os.sched_getaffinity(0)) if cores is None else cores
        self._devices = accelerators(config.available_accelerators)
        self._taken: dict[int, int] = {}

    def take(self, number: int) -> Berth:
        """The lowest place that is free, for the worker of this number."""
        place = next(each for each in range(len(self._taken) + 1) if each not in self._taken.values())
        self._taken[number] = place
        config = self._config
        environment = {"FEDPROXY_WORKER_ID": str(number)}
        if config.max_workers <= len(self._devices):  # with fewer, they go to the tasks that ask for some
            environment |= dict.fromkeys(ACCELERATOR_VARIABLES, self._devices[place % len(self._devices)])
        memory = size_bytes(config.memory_per_worker) if config.memory_per_worker else 0
        if memory:
            environment[MEMORY_VARIABLE] = str(memory)
        cores = cores_for(config.cpu_affinity, place, config.max_workers, self._cores) if config.cpu_affinity != "none" else ()
        return Berth(place, environment, cores, memory, config.worker_init)

    def leave(self, number: int) -> None:
        """The worker of this number is gone."""
        self._taken.pop(number, None)
