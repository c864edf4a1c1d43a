"""Which tasks are run a second time because they take too long. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median

from attrs import frozen


@frozen
class Patience:
    """A straggler has run for ``factor`` times the median of those that ended, and at least ``least_s``; at least ``quantile`` of all have ended."""

    factor: float = 2.0
    quantile: float = 0.5
    least_s: float = 1.0


def stragglers(now: float, tail_since: float, ended_s: Sequence[float], running: Collection[int], twins: Collection[int], patience: Patience) -> list[int]:
    """Tasks to start once more.

    Args:
        tail_since: when there were first no more tasks than workers: from then on each that is left is certain to run, and there is room for a twin.
        ended_s: how long each of those took that have ended.
        running: those that have not ended.
        twins: those of them that have a twin already.
    """
    if not ended_s or len(ended_s) < patience.quantile * (len(ended_s) + len(running)):
        return []
    limit = max(patience.least_s, patience.factor * median(ended_s))
    return [] if now - tail_since < limit else [index for index in sorted(running) if index not in twins]
