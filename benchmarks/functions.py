"""What the systems under test are asked to run. Importable by their workers."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PAGE_BYTES = 4096


def echo(value: Any) -> Any:
    """A no-op whose answer can be checked."""
    return value


def noted(path: str, number: int, sleep_s: float = 0.0) -> int:
    """Writes down in ``path`` that it ran, by one ``write``; returns ``number``."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, b"%d\n" % number)
    os.close(descriptor)
    time.sleep(sleep_s)
    return number


def fail(number: int) -> None:
    """Raises."""
    raise ArithmeticError(number)


def die() -> None:
    """Takes its worker with it."""
    os.kill(os.getpid(), signal.SIGKILL)


def add_one(array: Array) -> Array:
    """Reads every byte, and makes an array of the same size."""
    return array + 1.0


def sum_of_pages(array: Array) -> int:
    """Touches every page: the sum of one 64-bit value in each, as integers, so that no rounding depends on its place."""
    return int(array[:: PAGE_BYTES // array.itemsize].view(np.uint64).sum())
