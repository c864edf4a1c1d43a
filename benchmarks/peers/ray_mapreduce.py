"""Ray: the shuffle of its documentation (a map returns an object for each reduce), and blocks that reducers map from shared memory."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Sample
from benchmarks.host import Host
from benchmarks.mapreduce_kernels import mapped, partitioner_of, reduced, splits_of
from benchmarks.peers.ray_pool import cluster, ray


def map_to_returns(app: str, split: Any, partitioner: Any) -> Any:
    parts = mapped(app, split, partitioner)
    return parts if len(parts) > 1 else parts[0]


def reduce_returns(app: str, output: Path, number: int, *parts: bytes) -> None:
    reduced(app, parts, output, number)


def map_to_block(app: str, split: Any, partitioner: Any) -> tuple[Any, Any]:
    parts = mapped(app, split, partitioner)
    return np.array([0, *accumulate(map(len, parts))]), np.frombuffer(b"".join(parts), np.uint8)


def reduce_blocks(app: str, output: Path, number: int, blocks: list[Any]) -> None:
    def segments() -> Any:
        for offsets, data in ray.get(blocks):
            yield data[offsets[number] : offsets[number + 1]].tobytes()

    reduced(app, segments(), output, number)


class RayMapReducer:
    """Tasks; ``blocks``: one object for each map."""

    def __init__(self, *, blocks: bool) -> None:
        self._blocks = blocks

    def run(self, app: str, source: Path, output: Path, maps: int, reduces: int, memory_bytes: int) -> Sample:
        splits = splits_of(source, maps)
        partitioner = partitioner_of(app, splits, reduces)
        shared = ray.put(partitioner)
        if self._blocks:
            mapper, reducer = ray.remote(map_to_block), ray.remote(reduce_blocks)
            made = [mapper.remote(app, split, shared) for split in splits]
            ray.get([reducer.remote(app, output, number, made) for number in range(partitioner.reduces)])
            return {}
        mapper, reducer = ray.remote(num_returns=partitioner.reduces)(map_to_returns), ray.remote(reduce_returns)
        columns = [mapper.remote(app, split, shared) for split in splits]
        columns = [column if isinstance(column, list) else [column] for column in columns]
        ray.get([reducer.remote(app, output, number, *(column[number] for column in columns)) for number in range(partitioner.reduces)])
        return {}


def maker(*, as_blocks: bool) -> Callable[[Host], RayMapReducer]:
    """A factory."""

    def make(host: Host) -> RayMapReducer:
        host.shared(cluster)
        return RayMapReducer(blocks=as_blocks)

    return make


returns = maker(as_blocks=False)
blocks = maker(as_blocks=True)
