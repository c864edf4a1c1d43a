"""What a job gave, and what it took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from fedproxy.patterns.mapreduce.phases import Phase
from fedproxy.patterns.mapreduce.plan import Reduced
from fedproxy.patterns.shuffle.records import Records


@frozen
class Moved:
    """Bytes of a job."""

    input: int
    intermediate: int
    """As stored: compressed where that pays."""
    across_sites: int
    """Intermediate data that was read at another site than it was written."""
    input_elsewhere: int
    """Input at other sites than the reducers': what moving the input there would have moved."""
    spilled: int
    output: int


@frozen
class Result:
    """The end of a job."""

    outputs: tuple[Reduced, ...] = field(repr=False)
    """By reducer. Of an ordered job, in the order of the keys."""
    phases: tuple[Phase, ...]
    moved: Moved
    seconds: float
    maps: int
    reduces: int
    attempts: int
    """Tasks that were started, retries and twins included."""
    merged: bool
    """Whether blocks were merged before the reducers read them."""
    peak_rss_bytes: int
    """Of the worker process that needed most; without a store's pages that it had mapped before."""
    stores: tuple[str, ...]
    """Where intermediate data was in the end."""
    _records: Records = field(repr=False)

    @property
    def records(self) -> int:
        """How many records came out."""
        return sum(output.records for output in self.outputs)

    @property
    def urls(self) -> list[str]:
        """The output files."""
        return [output.url for output in self.outputs if output.url is not None]

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Keys and values (None: lines) that were returned, reducer by reducer."""
        for output in self.outputs:
            for data in output.data or ():
                run = self._records.decode(data)
                yield from zip(run.keys, run.values or [None] * len(run), strict=True)
