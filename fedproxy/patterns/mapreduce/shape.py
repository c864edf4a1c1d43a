"""How many tasks of what size, and what is merged with what. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from fedproxy.patterns.shuffle.collector import Budget

MAPS_PER_WORKER = 4
LEAST_SPLIT_BYTES = 1024 * 1024
"""Smaller ones are made only if so many maps were asked for."""
SMALL_SEGMENT_BYTES = 32 * 1024
"""Below this, asking for a segment costs about as much as moving it."""
_LEAST_MERGED = 2
_FAR = ("s3", "s3a", "gs", "gcs", "az", "abfs", "http", "https", "sftp", "ftp", "smb", "webdav")


@frozen
class Group:
    """Maps ``first`` to ``last`` (exclusive), all of one site, whose blocks become one."""

    first: int
    last: int
    endpoint: str


def wanted_maps(asked: int | None, workers: int, input_bytes: int) -> int:
    """How many splits to make."""
    return asked or max(1, min(MAPS_PER_WORKER * workers, input_bytes // LEAST_SPLIT_BYTES))


def most_split_bytes(budget: Budget) -> int:
    """The largest split: what it becomes in memory is spilled a few times at most."""
    return budget.gather_bytes


def merge_pays(segment_bytes: Sequence[int], store: str) -> bool:
    """Whether to merge blocks first: mean segment below 32 KiB, on a store where each request is a round trip over a network.

    Args:
        segment_bytes: stored bytes of each map's block divided by the number of reducers.
    """
    return bool(segment_bytes) and store.partition(":")[0] in _FAR and sum(segment_bytes) / len(segment_bytes) < SMALL_SEGMENT_BYTES


def groups(block_bytes: Sequence[int], endpoints: Sequence[str], reduces: int, budget: Budget) -> list[Group]:
    """Neighbouring maps at one endpoint, as many as make segments of 32 KiB and fit a fifth of the memory."""
    found: list[Group] = []
    most, wanted = budget.gather_bytes, SMALL_SEGMENT_BYTES * reduces
    first = size = 0
    for index, nbytes in enumerate(block_bytes):
        full = index > first and (endpoints[index] != endpoints[first] or size + nbytes > most or size >= wanted)
        if full:
            found.append(Group(first, index, endpoints[first]))
            first, size = index, 0
        size += nbytes
    if first < len(block_bytes):
        found.append(Group(first, len(block_bytes), endpoints[first]))
    return found
