"""What the systems under test are asked to run. Importable by their workers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PAGE_BYTES = 4096


def echo(value: Any) -> Any:
    """A no-op whose answer can be checked."""
    return value


def add_one(array: Array) -> Array:
    """Reads every byte, and makes an array of the same size."""
    return array + 1.0


def sum_of_pages(array: Array) -> int:
    """Touches every page: the sum of one 64-bit value in each, as integers, so that no rounding depends on its place."""
    return int(array[:: PAGE_BYTES // array.itemsize].view(np.uint64).sum())
