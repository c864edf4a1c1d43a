"""Records within a bound of memory: gathered, spilled when they are too many, given back in order."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from fedproxy.patterns.shuffle.merging import FAN_IN, merge
from fedproxy.patterns.shuffle.records import Records, Run
from fedproxy.patterns.shuffle.spill import Spill, pieces_of

DEFAULT_MEMORY_BYTES = 256 * 1024 * 1024
_LEAST_BYTES = 64 * 1024


@frozen
class Budget:
    """How the memory of a task is shared out.

    Beside what is gathered there are, at most at the same time: the copy that sorting or encoding makes, the chunks of the merge, what was
    fetched ahead, and what is written. One record that is larger than all this is held whole, several times.
    """

    memory_bytes: int = DEFAULT_MEMORY_BYTES

    @property
    def gather_bytes(self) -> int:
        """Records that are held before they are spilled."""
        return max(_LEAST_BYTES, self.memory_bytes // 5)

    @property
    def piece_bytes(self) -> int:
        """Input that is read at once."""
        return max(_LEAST_BYTES, self.memory_bytes // 32)

    @property
    def fetch_bytes(self) -> int:
        """A batch of segments; two are held."""
        return max(_LEAST_BYTES, min(4 * 1024 * 1024, self.memory_bytes // 32))

    @property
    def merge_bytes(self) -> int:
        """A piece of a spilled run."""
        return max(_LEAST_BYTES // 4, self.gather_bytes // (2 * FAN_IN))


class Collector:
    """Takes runs, gives sorted ones."""

    def __init__(self, records: Records, budget: Budget) -> None:
        self._records, self._budget = records, budget
        self._gatherer = records.gatherer()
        self._spills: list[Spill] = []
        self.spilled_bytes = 0

    def add(self, run: Run) -> None:
        """Take the records of ``run``; may spill.

        Raises:
            StoreFullError: there is no room on disk.
        """
        self._gatherer.add(run)
        if self._gatherer.nbytes > self._budget.gather_bytes:
            self._spill(pieces_of(self._gatherer.drain(), self._budget.merge_bytes))
            if len(self._spills) >= FAN_IN:
                self._compact()

    def runs(self) -> Iterator[Run]:
        """Everything, sorted, in pieces of bounded size; the collector is empty afterwards."""
        last = self._gatherer.drain()
        if not self._spills:
            yield from pieces_of(last, self._budget.gather_bytes // 4)
            return
        spills, self._spills = self._spills, []
        streams = [spill.runs() for spill in spills]
        yield from merge([*streams, pieces_of(last, self._budget.merge_bytes)], self._records.gatherer())

    def _spill(self, pieces: Iterator[Run]) -> None:
        spill = Spill(self._records, pieces)
        self.spilled_bytes += spill.nbytes
        self._spills.append(spill)

    def _compact(self) -> None:
        """One run of all that were spilled."""
        spills, self._spills = self._spills, []
        merged = merge([spill.runs() for spill in spills], self._records.gatherer())
        self._spill(piece for run in merged for piece in pieces_of(run, self._budget.merge_bytes))
