"""From the stations of a task to coloured phases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

PHASES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    # phase, stations that may begin it (first one there), stations that may end it
    ("queued", ("submitted", "accepted"), ("dispatched", "received", "started")),
    ("staged", ("dispatched", "received"), ("started",)),
    ("run", ("started",), ("ended",)),
    ("return", ("ended",), ("finished", "returned")),
)
"""Queued at the service; staged: sent to the site and waiting there for a worker; run; return of the result."""


@frozen
class Span:
    """A phase of a task: seconds since the first task was submitted."""

    phase: str
    start_s: float
    end_s: float


@frozen
class TaskTrace:
    """One task: at which site, what it was, and its phases in order."""

    site: str
    kind: str
    spans: tuple[Span, ...]

    @property
    def start_s(self) -> float:
        """When it was submitted."""
        return self.spans[0].start_s if self.spans else 0.0

    @property
    def end_s(self) -> float:
        """When its result was there."""
        return self.spans[-1].end_s if self.spans else 0.0


def phases(times: Mapping[str, float], origin: float) -> tuple[Span, ...]:
    """The phases of one task from its timeline. Stations that are missing make a phase shorter or leave it out."""
    spans: list[Span] = []
    for phase, begins, ends in PHASES:
        start = next((times[name] for name in begins if name in times), None)
        end = next((times[name] for name in ends if name in times), None)
        if start is not None and end is not None and end >= start:
            spans.append(Span(phase, start - origin, end - origin))
    return tuple(spans)


def lanes(traces: Iterable[TaskTrace]) -> list[tuple[TaskTrace, int]]:
    """Tasks in the order in which they ran, each with its row; sites stay together."""
    ordered = sorted(traces, key=lambda trace: (trace.site, _run_start(trace)))
    return [(trace, row) for row, trace in enumerate(ordered)]


def _run_start(trace: TaskTrace) -> float:
    return next((span.start_s for span in trace.spans if span.phase == "run"), trace.start_s)
