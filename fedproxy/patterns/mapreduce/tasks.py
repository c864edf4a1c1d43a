"""What runs at the endpoints: a map, a merge of maps, a reduce."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from fedproxy.patterns.mapreduce.inputs import Split, read_pieces
from fedproxy.patterns.mapreduce.jobs import Batch
from fedproxy.patterns.mapreduce.outputs import PartWriter
from fedproxy.patterns.mapreduce.peak import Peak
from fedproxy.patterns.mapreduce.plan import Made, Plan, Reduced, Spent, resolved
from fedproxy.patterns.shuffle.block import BlockBuilder, Segment
from fedproxy.patterns.shuffle.boundaries import reservoir
from fedproxy.patterns.shuffle.collector import Collector
from fedproxy.patterns.shuffle.manifest import Manifest, block_key
from fedproxy.patterns.shuffle.reader import Account, Wanted, segments, whole_blocks
from fedproxy.patterns.shuffle.records import Run
from fedproxy.patterns.shuffle.writer import Place, write

SAMPLE_BYTES = 64 * 1024
_PIECES = 4


class Stopwatch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """What passed since the last lap was ``phase``."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def sample_keys(plan: Plan, splits: Sequence[Split], size: int, seed: int) -> list[list[Any]]:
    """For each split, ``size`` keys out of a few pieces of it (of the beginning, where it is compressed)."""
    job = resolved(plan).job
    found = []
    for number, split in enumerate(splits):
        parts = (islice(_batches([part], SAMPLE_BYTES), 1) for part in _looked_at(split))
        keys = chain.from_iterable(job.mapper(batch).keys for batch in chain.from_iterable(parts))
        found.append(reservoir(keys, size, seed + number))
    return found


def _looked_at(split: Split) -> list[Split]:
    """Parts of a split, evenly spaced."""
    if split.length is None or split.length <= _PIECES * SAMPLE_BYTES:
        return [split]
    step = split.length // _PIECES
    return [Split(split.url, split.start + step * number, SAMPLE_BYTES) for number in range(_PIECES)]


def run_map(plan: Plan, endpoint: str, splits: tuple[Split, ...], index: int, attempt: int) -> Made:
    """Read splits, map and combine them, write one block."""
    peak = Peak()
    plan = resolved(plan)
    watch = Stopwatch()
    builder = BlockBuilder(plan.job.records, plan.partitioner, plan.budget, compress=plan.compress)
    batches, read = _batches(splits, plan.budget.piece_bytes), 0
    while (batch := next(batches, None)) is not None:
        watch.lap("input read")
        read += len(batch.data)
        builder.add(plan.job.mapper(batch))
        del batch
        watch.lap("map")
    watch.lap("input read")
    made = builder.segments()
    watch.lap("map")
    source = write(made, Place(block_key(plan.shuffle, "m", index, attempt), index, attempt), plan.targets[endpoint])
    watch.lap("intermediate write")
    return Made(source, Spent(watch.seconds, builder.records, read, peak_rss_bytes=peak.nbytes()))


def _batches(splits: Sequence[Split], piece_bytes: int) -> Iterator[Batch]:
    for split in splits:
        for piece in read_pieces(split, piece_bytes):
            yield Batch(piece, split.url)


def run_merge(plan: Plan, endpoint: str, manifest: Manifest, members: tuple[int, int], index: int, attempt: int) -> Made:
    """Make one block of the blocks of several maps, so that reducers read fewer and larger ranges. Nothing is decoded."""
    peak = Peak()
    plan, manifest = resolved(plan), resolved(manifest)
    watch = Stopwatch()
    some = Manifest(manifest.shuffle, manifest.sources[slice(*members)])
    reduces, account = plan.partitioner.reduces, Account()
    columns: list[Segment] = [[] for _ in range(reduces)]
    for source, block in whole_blocks(some, reduces, account):
        at, view = 0, memoryview(block)
        for reducer, size in enumerate(source.sizes()):
            if size:
                columns[reducer].append(view[at : at + size])
            at += size
    watch.lap("intermediate read")
    source = write(columns, Place(block_key(plan.shuffle, "g", index, attempt), index, attempt, "g"), plan.targets[endpoint])
    watch.lap("intermediate write")
    return Made(source, Spent(watch.seconds, read_bytes=account.nbytes, from_site=account.from_site, peak_rss_bytes=peak.nbytes()))


def run_reduce(plan: Plan, endpoint: str, manifest: Manifest, index: int, attempt: int) -> Reduced:
    """Fetch the segments of one reducer, merge and reduce them, write or return the output."""
    peak = Peak()
    plan, manifest = resolved(plan), resolved(manifest)
    watch, account = Stopwatch(), Account()
    collector = Collector(plan.job.records, plan.budget)
    wanted = Wanted(manifest, index, index + 1, plan.partitioner.reduces, plan.budget.fetch_bytes)
    for _, chunks in segments(wanted, account):
        watch.lap("intermediate read")
        for chunk in chunks:
            collector.add(plan.job.records.decode(chunk.raw))
        watch.lap("reduce")
    watch.lap("intermediate read")
    writer = PartWriter(plan, index, attempt)
    with writer:
        for run in _reduced(plan, collector.runs()):
            watch.lap("reduce")
            writer.add(run)
            watch.lap("output write")
        watch.lap("reduce")
    watch.lap("output write")
    spent = Spent(watch.seconds, writer.records, account.nbytes, collector.spilled_bytes, account.from_site, peak.nbytes())
    return Reduced(index, endpoint, writer.records, writer.nbytes, writer.first, writer.last, writer.url, writer.data, spent)


def _reduced(plan: Plan, runs: Iterator[Run]) -> Iterator[Run]:
    for run in runs:
        if run.keys:
            yield plan.job.reduced(run)
