"""What an agent asks of an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from attrs import frozen

from fedproxy.protocol.messages import Outcome, Piece, Place, Spec, Task


class Job(NamedTuple):
    """A task with what is needed to run it."""

    task: Task
    payload: bytes
    received: float
    """The agent's clock, seconds since the epoch."""


@frozen
class Load:
    """How an engine is doing."""

    workers: int
    idle: int
    waiting: int
    blocks: int = 0
    """What a provider was asked for and has not ended: batch jobs that run or wait in the scheduler's queue."""
    problem: str = ""
    """What keeps it from working as configured, for people. Empty: nothing."""


@frozen
class Callbacks:
    """How an engine tells its agent. All are called on the loop's thread."""

    handed: Callable[[Sequence[bytes]], None]
    """Called before workers get these tasks: from here on they may have started."""
    ended: Callable[[Outcome, bytes], None]


class Catalog(Protocol):
    """Where an engine looks up specs and functions by hash."""

    def spec(self, name: bytes) -> Spec:
        """A spec that is known."""

    def encoded_spec(self, name: bytes) -> bytes:
        """The same, encoded."""

    def function(self, name: bytes) -> bytes:
        """A function's serialized body."""


class Engine(Protocol):
    """Runs jobs. Every job that is submitted ends in exactly one outcome."""

    async def start(self) -> None:
        """Start workers; returns without waiting for them."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Run these: higher priorities first where the engine can (`SupportsPriorities`), first in first out among equals."""

    def cancel(self, task_id: bytes) -> None:
        """Stop a job: one that waits ends CANCELLED; one that runs has its worker killed."""

    def load(self) -> Load:
        """How it is doing now."""

    def details(self) -> Mapping[str, object]:
        """The same at length, for status reports: plain data that JSON can hold."""

    async def stop(self) -> None:
        """Stop all workers. Jobs that were running end LOST; those that waited end LOST and not started."""


@runtime_checkable
class SupportsPriorities(Protocol):
    """An engine whose waiting jobs are ordered by priority."""

    def reprioritize(self, priorities: Mapping[bytes, int]) -> None:
        """Give other priorities to jobs (by task id) that wait; those that no longer do are passed over."""


@runtime_checkable
class TellsWritten(Protocol):
    """An engine that sees what its tasks write while they run."""

    def written(self) -> Iterator[Piece]:
        """What running tasks wrote since the last call."""


@runtime_checkable
class TellsPlace(Protocol):
    """An engine that knows how far each of its jobs is."""

    def place(self, task_id: bytes) -> Place | None:
        """How far a job is; None if the engine does not have it."""
