"""Where the key ranges of reducers end: sampled, so that each gets about as much."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import islice
from math import exp, floor, log
from typing import Any, TypeVar

T = TypeVar("T")


def reservoir(items: Iterable[T], size: int, seed: int) -> list[T]:
    """``size`` items, each as likely as any other, in one pass without knowing how many there are.

    Source: Li, "Reservoir-sampling algorithms of time complexity O(n(1+log(N/n)))" (1994), algorithm L: it draws how many to skip.
    """
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    rest = iter(items)
    found = list(islice(rest, size))
    if len(found) < size or size == 0:
        return found
    weight = exp(log(rng.random()) / size)
    while True:
        skip = floor(log(rng.random()) / log(1 - weight)) if weight < 1 else 0
        following = next(islice(rest, skip, skip + 1), _END)
        if following is _END:
            return found
        found[rng.randrange(size)] = following
        weight *= exp(log(rng.random()) / size)


_END: Any = object()


def boundaries(samples: Sequence[Sequence[Any]], weights: Sequence[float], reduces: int) -> list[Any]:
    """At most ``reduces - 1`` keys, ascending and distinct, that cut the data into parts of about equal size.

    Args:
        samples: keys that were sampled in each part of the input.
        weights: the size of each part; a sampled key stands for ``weight / len(sample)``.
        reduces: how many parts are wanted. Fewer distinct keys give fewer.
    """
    weighed = sorted((key, weight / len(keys)) for keys, weight in zip(samples, weights, strict=True) for key in keys)
    total = sum(weight for _, weight in weighed)
    found: list[Any] = []
    passed, quantile = 0.0, 1
    for key, weight in weighed[:-1]:
        passed += weight
        reached = int(passed / total * reduces)
        if reached >= quantile and len(found) < reduces - 1 and (not found or key > found[-1]):
            found.append(key)
            quantile = reached + 1  # a key that is a large part of the data fills a reducer by itself
    return found
