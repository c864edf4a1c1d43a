"""What peers compute with: fedproxy's own reading, sorting, counting and partitioning, without its shuffle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fedproxy.patterns.mapreduce import Batch, Job, counts, sorted_lines
from fedproxy.patterns.mapreduce.inputs import InputFile, Split, plan_splits, read_pieces
from fedproxy.patterns.mapreduce.tasks import _looked_at
from fedproxy.patterns.shuffle.boundaries import boundaries, reservoir
from fedproxy.patterns.shuffle.partition import Partitioner
from fedproxy.patterns.shuffle.records import Records

PIECE_BYTES = 8 * 1024 * 1024


def words_of(batch: Batch) -> Counter[bytes]:
    """The mapper of the word count."""
    return Counter(batch.data.split())


def job_of(app: str) -> Job:
    """The job, as fedproxy runs it."""
    return sorted_lines() if app == "sort" else counts(words_of)


def splits_of(source: Path, maps: int) -> list[Split]:
    """The same splits as fedproxy makes."""
    return plan_splits([InputFile(f"file://{source}", source.stat().st_size)], maps, most_bytes=2**62)


def partitioner_of(app: str, splits: Sequence[Split], reduces: int) -> Partitioner:
    """Ranges by samples, or hashes; as fedproxy does."""
    job = job_of(app)
    if not job.ordered:
        return job.partition(reduces, None)
    samples = []
    for number, split in enumerate(splits[:: max(1, len(splits) // 64)]):
        keys = [key for part in _looked_at(split) for piece in read_pieces(part, 65536) for key in piece.split(b"\n")]
        samples.append(reservoir(keys, max(1, 40 * reduces // 64), number))
    return job.partition(reduces, boundaries(samples, [1.0] * len(samples), reduces))


def mapped(app: str, split: Split, partitioner: Partitioner) -> list[bytes]:
    """One map: the bytes for each reducer."""
    job = job_of(app)
    gatherer = job.records.gatherer()
    for piece in read_pieces(split, PIECE_BYTES):
        gatherer.add(job.mapper(Batch(piece, split.url)))
    return [job.records.encode(run) for run in partitioner.cut(gatherer.drain(sort=partitioner.wants_sorted))]


def reduced(app: str, parts: Iterable[Any], output: Path, number: int) -> None:
    """One reduce: merge what the maps gave, write a part."""
    job = job_of(app)
    records: Records = job.records
    gatherer = records.gatherer()
    for part in parts:
        if len(part):
            gatherer.add(records.decode(part))
    run = gatherer.drain()
    (output / f"part-{number:05d}").write_bytes(job.format(run))
