"""What memory and disk can do with one array: the limits of a store on one machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.functions import Array
from benchmarks.host import Host


class Memcpy:
    """One copy into warm memory; getting is looking at it."""

    def __init__(self) -> None:
        self._warm: Array = np.zeros(0, np.uint8)

    def put(self, value: Array) -> int:
        if self._warm.nbytes != value.nbytes:
            self._warm = np.ones_like(value)
        np.copyto(self._warm, value)
        return 0

    def get(self, key: int) -> Array:
        return self._warm[:]

    def evict(self, key: int) -> None:
        pass


class Files:
    """One fresh file per object, written in one go, mapped on get."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys = count()

    def put(self, value: Array) -> Path:
        path = self._directory / str(next(self._keys))
        value.tofile(path)
        return path

    def get(self, key: Path) -> Array:
        return np.memmap(key, np.uint8, "r")

    def evict(self, key: Path) -> None:
        key.unlink()


def opener(directory: Callable[[Host], Path]) -> Callable[[Host], Files]:
    """A factory over files in ``directory(host)``."""

    @contextmanager
    def files(host: Host) -> Iterator[Files]:
        where = directory(host)
        where.mkdir()
        try:
            yield Files(where)
        finally:
            shutil.rmtree(where, ignore_errors=True)

    return lambda host: host.own(files(host))


def memcpy(host: Host) -> Memcpy:
    """In this process."""
    return Memcpy()


devshm = opener(lambda _: Path(f"/dev/shm/fpbench-raw-{os.getpid()}"))
file = opener(lambda host: host.directory / "raw-files")
