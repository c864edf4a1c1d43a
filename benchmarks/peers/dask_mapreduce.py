"""Dask: data frames of lines, shuffled by its P2P method, sorted or summed in each partition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd

from benchmarks.cases import Sample
from benchmarks.host import Host
from benchmarks.mapreduce_kernels import job_of, partitioner_of, splits_of
from benchmarks.peers.dask_pool import cluster
from fedproxy.patterns.mapreduce import Batch
from fedproxy.patterns.mapreduce.inputs import read_pieces

TEXT = "string[pyarrow]"
ENCODING = "latin-1"
"""Every byte has a character in it, and their order is the same."""


def frame_of(split: Any, app: str, partitioner: Any) -> pd.DataFrame:
    """The records of a split, each with its partition's number."""
    job = job_of(app)
    gatherer = job.records.gatherer()
    for piece in read_pieces(split, 8 << 20):
        gatherer.add(job.mapper(Batch(piece, split.url)))
    parts = partitioner.cut(gatherer.drain(sort=partitioner.wants_sorted))
    numbers = [number for number, part in enumerate(parts) for _ in part.keys]
    frame = pd.DataFrame({"part": pd.Series(numbers, dtype="int64")})
    frame["key"] = pd.array([key.decode(ENCODING) for part in parts for key in part.keys], dtype=TEXT)
    if app != "sort":
        frame["count"] = pd.Series([value for part in parts for value in part.values], dtype="int64")
    return frame


def write(frame: pd.DataFrame, app: str, output: Path) -> pd.DataFrame:
    """Sort or sum each partition that is here, and write it. P2P may put several numbers into one of its partitions."""
    for number, part in frame.groupby("part"):
        if app == "sort":
            lines = sorted(key.encode(ENCODING) for key in part["key"].tolist())
            data = b"\n".join(lines) + b"\n" if lines else b""
        else:
            sums = part.groupby("key")["count"].sum()
            data = b"".join(b"%b\t%d\n" % (key.encode(ENCODING), count) for key, count in sums.items())
        (output / f"part-{number:05d}").write_bytes(data)
    return pd.DataFrame({"done": [len(frame)]})


class DaskMapReducer:
    """Data frames on the local cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, app: str, source: Path, output: Path, maps: int, reduces: int, memory_bytes: int) -> Sample:
        splits = splits_of(source, maps)
        partitioner = partitioner_of(app, splits, reduces)
        meta = {"part": "int64", "key": TEXT} if app == "sort" else {"part": "int64", "key": TEXT, "count": "int64"}
        with dask.config.set({"dataframe.shuffle.method": "p2p", "dataframe.convert-string": True}):
            frame = dd.from_map(frame_of, splits, app=app, partitioner=partitioner, meta=pd.DataFrame({k: pd.Series(dtype=v) for k, v in meta.items()}))
            shuffled = frame.shuffle("part", npartitions=partitioner.reduces, shuffle_method="p2p")
            done = shuffled.map_partitions(write, app, output, meta={"done": "int64"})
            self._client.compute(done).result()
        return {}


def p2p(host: Host) -> DaskMapReducer:
    """The shared cluster."""
    return DaskMapReducer(host.shared(cluster))
