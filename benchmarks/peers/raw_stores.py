"""What memory and disk can do with one array: the limits of a store on one machine."""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.functions import Array
from benchmarks.host import Host

MAPPED_BYTES = 64 * 1024
"""From here on mapping is cheaper than reading."""


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
    """One fresh file per object, written in one go by system calls; mapped on get, or read where that is cheaper."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys = count()

    def put(self, value: Array) -> str:
        path = f"{self._directory}/{next(self._keys)}"
        view = value.data.cast("B")
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)
        return path

    def get(self, key: str) -> Array:
        descriptor = os.open(key, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            data = os.read(descriptor, size) if size < MAPPED_BYTES else mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        return np.frombuffer(data, np.uint8)

    def evict(self, key: str) -> None:
        os.unlink(key)


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
