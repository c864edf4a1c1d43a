"""Jobs that no worker has: by the container that they want, or just by priority."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from msgspec.structs import replace

from fedproxy.endpoint.engines.base import Job
from fedproxy.protocol.ranked import Ranked


class Waiting:
    """A queue by priority for each kind. Iterating gives all jobs, kind by kind."""

    def __init__(self, kind_of: Callable[[Job], str]) -> None:
        self._kind_of = kind_of
        self._queues: dict[str, Ranked[Job]] = {}
        self._none: Ranked[Job] = Ranked()

    def push(self, job: Job, priority: int) -> None:
        """Put a job behind those of its kind and priority."""
        self._queue(job).push(job, priority)

    def push_front(self, job: Job, priority: int) -> None:
        """Put it before them."""
        self._queue(job).push_front(job, priority)

    def _queue(self, job: Job) -> Ranked[Job]:
        kind = self._kind_of(job)
        queue = self._queues.get(kind)
        if queue is None:
            queue = self._queues[kind] = Ranked()
        return queue

    def kinds(self) -> list[str]:
        """Kinds for which jobs wait: that of the highest priority first, among equals the one that has waited longest."""
        found = [kind for kind, queue in self._queues.items() if queue]
        return found if len(found) < 2 else sorted(found, key=self._rank)

    def _rank(self, kind: str) -> tuple[int, float]:
        first = self._queues[kind].peek()
        return -first.task.priority, first.received

    def of(self, kind: str) -> Ranked[Job]:
        """The queue of one kind; not to be put into."""
        return self._queues.get(kind, self._none)

    def take_out(self, wanted: Callable[[Job, int], bool]) -> list[Job]:
        """Remove all jobs of which ``wanted(job, priority)`` is true."""
        return [job for queue in self._queues.values() for job in queue.take_out(wanted)]

    def take_all(self, kind: str | None = None) -> list[Job]:
        """All jobs (of one kind), which then wait no more."""
        kinds = list(self._queues) if kind is None else [kind]
        return [job for each in kinds for job in self._queues.pop(each, ())]

    def __iter__(self) -> Iterator[Job]:
        return (job for queue in self._queues.values() for job in queue)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))


class Queue(Protocol):
    """`Waiting`, or one `Ranked`."""

    def take_out(self, wanted: Callable[[Job, int], bool], /) -> list[Job]:
        """Remove all jobs of which ``wanted(job, priority)`` is true."""
        ...

    def push(self, job: Job, priority: int, /) -> None:
        """Put a job behind those of its priority."""
        ...


def reprioritize(queue: Queue, priorities: Mapping[bytes, int]) -> None:
    """Put jobs behind those of their new priorities."""
    for job in queue.take_out(lambda job, priority: priorities.get(job.task.id, priority) != priority):
        priority = priorities[job.task.id]
        queue.push(job._replace(task=replace(job.task, priority=priority)), priority)
