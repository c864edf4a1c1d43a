"""What waits for each endpoint. Queues hold places in the ledger, and can be rebuilt from it; a bounded number of tasks is kept whole."""

from __future__ import annotations

from collections import defaultdict, deque

from fedproxy.protocol.states import TaskState
from fedproxy.service.rows import LiveTask

_HOT_TASKS = 20_000
_HOT_BYTES = 64 * 1024 * 1024


class Queues:
    """One queue for each endpoint, first in first out; what comes back goes to the front."""

    def __init__(self) -> None:
        self._queues: defaultdict[str, deque[LiveTask | int]] = defaultdict(deque)
        self._hot_tasks = 0
        self._hot_bytes = 0

    def append(self, task: LiveTask) -> None:
        """Put a task last."""
        self._queues[task.endpoint].append(self._admit(task))

    def append_cold(self, endpoint: str, seq: int) -> None:
        """Put a task last that is only on disk."""
        self._queues[endpoint].append(seq)

    def put_back(self, task: LiveTask) -> None:
        """Put a task first."""
        self._queues[task.endpoint].appendleft(self._admit(task))

    def length(self, endpoint: str) -> int:
        """How many wait, including cancelled ones not yet passed over."""
        queue = self._queues.get(endpoint)
        return len(queue) if queue else 0

    def take(self, endpoint: str, most: int) -> tuple[list[LiveTask], list[int]]:
        """Take up to ``most`` from the front: those at hand, and places of those to be loaded."""
        queue = self._queues.get(endpoint)
        at_hand: list[LiveTask] = []
        on_disk: list[int] = []
        while queue and len(at_hand) + len(on_disk) < most:
            entry = queue.popleft()
            if isinstance(entry, int):
                on_disk.append(entry)
            else:
                self._hot_tasks -= 1
                self._hot_bytes -= len(entry.payload or b"")
                if entry.state is TaskState.QUEUED:
                    at_hand.append(entry)
        return at_hand, on_disk

    def sweep(self, gone: set[int]) -> set[int]:
        """Take out the tasks at these places in the ledger, wherever they wait; returns those that did."""
        found: set[int] = set()
        for endpoint, queue in self._queues.items():
            kept: deque[LiveTask | int] = deque()
            for entry in queue:
                seq = entry if isinstance(entry, int) else entry.seq
                if seq not in gone:
                    kept.append(entry)
                    continue
                found.add(seq)
                if not isinstance(entry, int):
                    self._hot_tasks -= 1
                    self._hot_bytes -= len(entry.payload or b"")
            self._queues[endpoint] = kept
        return found

    def _admit(self, task: LiveTask) -> LiveTask | int:
        if task.payload is None or self._hot_tasks >= _HOT_TASKS or self._hot_bytes + len(task.payload) > _HOT_BYTES:
            return task.seq
        self._hot_tasks += 1
        self._hot_bytes += len(task.payload)
        return task
