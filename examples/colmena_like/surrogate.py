"""What learns: an ensemble of kernel ridge regressions, each fitted to its own resampling of what was simulated."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.kernel_ridge import KernelRidge

from examples.colmena_like.polymer import HIGH, LOW

Array = Any
MEMBERS = 8


def scaled(parameters: Array) -> Array:
    """Parameters from 0 to 1."""
    return (np.asarray(parameters) - LOW) / (HIGH - LOW)


def train(known: Array, worth: Array, seed: int) -> list[tuple[KernelRidge, float]]:
    """The ensemble, fitted to ``known`` (samples x parameters) and ``worth`` (samples): each member with the mean that it was fitted around."""
    random, members = np.random.default_rng(seed), []
    points, mean = scaled(known), float(worth.mean())
    for _ in range(MEMBERS):
        chosen = random.integers(0, len(known), len(known))
        members.append((KernelRidge(alpha=1e-2, kernel="rbf", gamma=0.7).fit(points[chosen], worth[chosen] - mean), mean))
    return members


def promising(members: list[tuple[KernelRidge, float]], pool: Array, start: int, count: int, boldness: float) -> tuple[Array, Array]:
    """The best of a batch by upper confidence bound: mean plus ``boldness`` times the spread over the ensemble.

    Args:
        pool: candidates x parameters; row 0 has the number ``start``.

    Returns:
        Numbers of ``count`` candidates, and their bounds.
    """
    batch = scaled(pool)
    answers = np.array([member.predict(batch) + mean for member, mean in members])
    bounds = answers.mean(axis=0) + boldness * answers.std(axis=0)
    best = np.argsort(bounds)[::-1][:count]
    return best + start, bounds[best]
