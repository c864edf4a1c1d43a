"""What the tasks of a job are told, and what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import field, frozen

from fedproxy.patterns.mapreduce.jobs import Job
from fedproxy.patterns.shuffle.collector import Budget
from fedproxy.patterns.shuffle.manifest import Source
from fedproxy.patterns.shuffle.partition import Partitioner
from fedproxy.patterns.shuffle.writer import Target
from fedproxy.proxy import Proxy, extract

T = TypeVar("T")
PHASES = ("input read", "map", "intermediate write", "intermediate read", "reduce", "output write")
"""As in the funcX paper's table 1."""


@frozen
class Plan:
    """The same for all tasks of a job; travels as one proxy."""

    shuffle: str
    job: Job
    partitioner: Partitioner
    targets: Mapping[str, Target]
    """Where each endpoint writes."""
    budget: Budget
    compress: bool
    output: str | None
    """A folder's URL; None: the reducers return what they made."""


@frozen
class Spent:
    """What one task took."""

    seconds: Mapping[str, float]
    """By phase."""
    records: int = 0
    read_bytes: int = 0
    spilled_bytes: int = 0
    from_site: Mapping[str, int] = field(factory=dict)
    """Stored intermediate bytes by the site that they came from."""
    peak_rss_bytes: int = 0
    """The most memory that the worker process had of its own meanwhile (`peak.Peak`)."""


@frozen
class Made:
    """What a map or a merge made."""

    source: Source
    spent: Spent


@frozen
class Reduced:
    """What a reducer made."""

    index: int
    endpoint: str
    records: int
    nbytes: int
    """Of the output."""
    first: Any
    last: Any
    """The first and the last key."""
    url: str | None
    data: list[bytes] | None = field(repr=False)
    """Encoded runs, where they are returned."""
    spent: Spent


def resolved(value: T) -> T:
    """What was handed out: as a proxy where a store was shared, else itself."""
    return extract(cast("Proxy[T]", value)) if type(value) is Proxy else value
