"""A map's output as a block: one segment for each reducer, within a bound of memory.

Strategy: what a map gives is gathered (and combined) until it is too much, then cut for the reducers and encoded. Most maps do that once and
their segments stay in memory; those that do it more often write the segments to a file, and a block's segment is then several runs, put
together from that file without being read into memory.
"""

from __future__ import annotations

from fedproxy.patterns.shuffle.chunks import TARGET_BYTES, encode_chunk
from fedproxy.patterns.shuffle.collector import Budget
from fedproxy.patterns.shuffle.partition import Partitioner
from fedproxy.patterns.shuffle.records import Records, Run
from fedproxy.patterns.shuffle.spill import SpillFile, pieces_of
from fedproxy.store.connectors.base import Buffer

Segment = list[Buffer]


class BlockBuilder:
    """Takes runs of a map, gives the segments of its block."""

    def __init__(self, records: Records, partitioner: Partitioner, budget: Budget, *, compress: bool) -> None:
        self._records, self._partitioner, self._budget, self._compress = records, partitioner, budget, compress
        self._gatherer = records.gatherer()
        self._file: SpillFile | None = None
        self._places: list[list[tuple[int, int]]] = []
        self.records = 0

    def add(self, run: Run) -> None:
        """Take the records of ``run``, in any order.

        Raises:
            StoreFullError: there is no room to spill.
        """
        self._gatherer.add(run)
        if self._gatherer.nbytes > self._budget.gather_bytes:
            self._spill()

    def segments(self) -> list[Segment]:
        """One for each reducer: buffers to be written end to end. The builder is empty afterwards."""
        if self._file is None:
            return self._encoded()
        self._spill()
        whole = self._file.mapped()
        return [
            [whole[places[reducer][0] : sum(places[reducer])] for places in self._places if places[reducer][1]]
            for reducer in range(self._partitioner.reduces)
        ]

    def _spill(self) -> None:
        if self._file is None:
            self._file = SpillFile()
        self._places.append([(self._file.append(segment), sum(map(len, segment))) for segment in self._encoded()])

    def _encoded(self) -> list[Segment]:
        run = self._gatherer.drain(sort=self._partitioner.wants_sorted)
        self.records += len(run)
        return [self._encode(part) for part in self._partitioner.cut(run)]

    def _encode(self, run: Run) -> Segment:
        found: Segment = []
        if run.keys:
            for piece in pieces_of(run, TARGET_BYTES):
                found += encode_chunk(self._records.encode(piece), compress=self._compress, new_run=not found)
        return found

