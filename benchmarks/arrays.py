"""Arrays to send, and checks of what comes back that touch every page of it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from benchmarks.functions import PAGE_BYTES, Array

POOL_BYTES = 64_000_000


class WrongResultError(Exception):
    """A system gave back something else than it should have: its figures mean nothing."""


@lru_cache(2)
def distinct_arrays(count: int, nbytes: int) -> list[Array]:
    """``count`` contiguous float64 arrays, no two alike; the same ones when asked again.

    They are windows on a pool of 64 MB (or one array): too large for the processor's caches, and cheap to make.
    """
    size = nbytes // 8
    pool = np.random.default_rng(1).random(max(POOL_BYTES // 8, size + count - 1))
    step = max(1, (pool.size - size) // count)
    return [pool[i * step : i * step + size] for i in range(count)]


def check_plus_one(result: Array, sent: Array) -> None:
    """``result`` is ``sent + 1``; looks at one value of each page.

    Raises:
        WrongResultError: it is not.
    """
    step = PAGE_BYTES // sent.itemsize
    if result.shape != sent.shape or not np.array_equal(result[::step], sent[::step] + 1.0):
        raise WrongResultError("the array that came back is not what was sent, plus one")


def check_equal(found: object, expected: object) -> None:
    """They are equal.

    Raises:
        WrongResultError: they are not.
    """
    if found != expected:
        raise WrongResultError(f"expected {str(expected)[:80]}, got {str(found)[:80]}")
