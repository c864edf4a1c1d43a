"""The raw limit of a data plane: forked workers, one shared arena whose pages are faulted in, slot numbers by pipe."""

from __future__ import annotations

import mmap
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.cases import UnsupportedCaseError
from benchmarks.functions import Array
from benchmarks.host import Host
from benchmarks.peers.base import Function

SLOTS = 256
SLOT_BYTES = 1_048_576


class Arena:
    """Slots for arrays, in pairs: what goes in and what comes out."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 2 * SLOTS * SLOT_BYTES)

    def view(self, slot: int, size: int, *, out: bool) -> Array:
        """The float64 array of ``size`` items in a slot."""
        return np.frombuffer(self._memory, np.float64, size, (2 * slot + out) * SLOT_BYTES)


class ShmPool:
    """Copies in, lends out: a result is valid until the next one is taken."""

    def __init__(self, arena: Arena, pipes: list[Connection[Any, Any]]) -> None:
        self._arena = arena
        self._pipes = pipes
        self._numbers = count()
        self._free = list(range(SLOTS))
        self._lent: list[int] = []

    def submit(self, function: Function, value: Array) -> tuple[int, int, int]:
        slot = self._free.pop()
        worker = next(self._numbers) % len(self._pipes)
        np.copyto(self._arena.view(slot, value.size, out=False), value)
        self._pipes[worker].send((function, slot, value.size))
        return worker, slot, value.size

    def submit_all(self, function: Function, values: Sequence[Array]) -> list[tuple[int, int, int]]:
        return [self.submit(function, value) for value in values]

    def result(self, handle: tuple[int, int, int]) -> Array:
        worker, slot, size = handle
        assert self._pipes[worker].recv() == slot, "each worker answers in order"
        self._free.extend(self._lent)
        self._lent = [slot]
        return self._arena.view(slot, size, out=True)

    def results(self, handles: list[tuple[int, int, int]]) -> Iterator[Array]:
        for handle in handles:
            yield self.result(handle)

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        raise UnsupportedCaseError("raw shared memory does not chunk")


def work(arena: Arena, pipe: Connection[Any, Any]) -> None:
    """A worker: until its pipe is closed."""
    while True:
        try:
            function, slot, size = pipe.recv()
        except EOFError:
            return
        np.copyto(arena.view(slot, size, out=True), function(arena.view(slot, size, out=False)))
        pipe.send(slot)


@contextmanager
def open_pool(host: Host) -> Iterator[ShmPool]:
    """Fork the workers; end them by closing their pipes."""
    context = multiprocessing.get_context("fork")
    arena, ours, workers = Arena(), [], []
    for _ in range(host.workers):
        mine, theirs = context.Pipe()
        ours.append(mine)
        workers.append(context.Process(target=work, args=(arena, theirs), daemon=True))
        workers[-1].start()
        theirs.close()
    try:
        yield ShmPool(arena, ours)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def pool(host: Host) -> ShmPool:
    """Two workers."""
    return host.own(open_pool(host))
