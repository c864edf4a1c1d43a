"""Merging sorted runs that do not fit in memory, in batches.

Strategy: of each run one chunk is in memory. Everything up to the smallest of the chunks' last keys is complete: that much of every chunk is
cut off by bisection, gathered (sorted, equal keys combined) at C speed, and given away. No record is compared by Python code.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from fedproxy.patterns.shuffle.records import Gatherer, Run

FAN_IN = 64
"""Runs merged at a time; more are merged in several passes."""


def merge(streams: Sequence[Iterator[Run]], gatherer: Gatherer) -> Iterator[Run]:
    """One sorted run, in pieces, from sorted runs in pieces. Equal keys of different runs end in one piece."""
    heads = [head for stream in streams if (head := _next(stream)) is not None]
    while heads:
        limit = min(run.keys[-1] for run, _ in heads)
        left: list[tuple[Run, Iterator[Run]]] = []
        for run, stream in heads:
            stop = bisect_right(run.keys, limit)
            gatherer.add(run.cut(0, stop))
            rest = (run.cut(stop, len(run)), stream) if stop < len(run) else _next(stream)
            if rest is not None:
                left.append(rest)
        heads = left
        yield gatherer.drain()


def _next(stream: Iterator[Run]) -> tuple[Run, Iterator[Run]] | None:
    """The next piece that holds records."""
    for run in stream:
        if run.keys:
            return run, stream
    return None
