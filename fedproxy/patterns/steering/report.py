"""How well a campaign used its workers, and how fast it reacted."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from attrs import field, frozen

from fedproxy.errors import MissingExtraError
from fedproxy.patterns.steering.journal import read_journal
from fedproxy.patterns.steering.result import Result

INTERVALS = {
    "input write": ("created", "submitted"),
    "to the worker": ("submitted", "started"),
    "input read": ("started", "compute_started"),
    "compute": ("compute_started", "compute_ended"),
    "result write": ("compute_ended", "result_sent"),
    "back": ("result_sent", "result_received"),
}
"""What is shown of each task: name → (from, to), stages of a result."""


@frozen
class Span:
    """One task on a worker: seconds since the epoch."""

    method: str
    created: float
    started: float
    ended: float
    received: float
    lane: int = 0


@frozen
class CampaignReport:
    """Figures of one campaign; times are seconds."""

    tasks: dict[str, int]
    """By method."""
    failed: int
    cancelled: int
    makespan_s: float
    """From the first task asked for to the last result."""
    workers: int
    utilization: float
    """Share of the workers' time in which a task was on them, 0 to 1."""
    reaction_s: tuple[float, float]
    """p50, p95 of: a result is ready at its worker → a task that was asked for after it was seen starts. NaN where no task came after a result."""
    idle_gap_s: tuple[float, float]
    """p50, p95 of: a worker's task ends → its next one starts."""
    intervals_ms: dict[str, dict[str, float]]
    """Method → interval (see ``INTERVALS``) → median, ms."""
    spans: list[Span] = field(factory=list, repr=False)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {method}" for method, count in self.tasks.items())
        gaps = [f"; {name} {1e3 * half:.1f} ms (p95 {1e3 * most:.1f})" for name, (half, most) in (
            ("reaction", self.reaction_s), ("idle between tasks", self.idle_gap_s)) if not isnan(half)]
        return f"{counts} in {self.makespan_s:.1f} s on {self.workers} workers, {100 * self.utilization:.0f} % of the time busy{''.join(gaps)}"

    def picture(self, path: str | Path) -> None:
        """Write a PNG: who did what when, and the reaction times.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as exc:
            raise MissingExtraError("matplotlib is needed for pictures", hint="pip install 'fedproxy[report]'") from exc
        figure = Figure(figsize=(10, 4), layout="constrained")
        draw_lanes(figure.subplots(), self.spans)
        figure.savefig(path, dpi=110)


def campaign_report(source: str | Path | Iterable[Result], *, workers: int | None = None) -> CampaignReport:
    """The report of a journal, or of results.

    Args:
        workers: how many there were; by default the most that were busy at once.

    Raises:
        ConfigError: the file is no journal.
        ValueError: nothing has ended.
    """
    events = _events(source)
    spans = sorted((span for span in map(_span, events) if span is not None), key=lambda span: span.started)
    if not spans:
        raise ValueError("no task of this campaign has run to its end")
    lanes, gaps = _assign(spans, workers)
    begun, over = min(span.created for span in spans), max(span.received for span in spans)
    busy = sum(span.ended - span.started for span in spans)
    count = workers or 1 + max(span.lane for span in lanes)
    return CampaignReport(
        tasks=_counted(events), failed=sum(not event["success"] and not event["cancelled"] for event in events),
        cancelled=sum(event["cancelled"] for event in events), makespan_s=over - begun, workers=count, utilization=min(1.0, busy / (count * (over - begun))),
        reaction_s=_quantiles(_reactions(spans)), idle_gap_s=_quantiles(gaps), intervals_ms=_intervals(events), spans=lanes)


def _events(source: str | Path | Iterable[Result]) -> list[Mapping[str, Any]]:
    if isinstance(source, str | Path):
        return [event for event in read_journal(source) if event["event"] == "ended"]
    return [
        {"method": r.method, "success": r.success, "cancelled": r.cancelled, "timestamps": r.timestamps} for r in source if not r.intermediate
    ]


def _span(event: Mapping[str, Any]) -> Span | None:
    stamps = event["timestamps"]
    if not all(stage in stamps for stage in ("created", "started", "result_sent", "result_received")):
        return None
    return Span(event["method"], stamps["created"], stamps["started"], stamps["result_sent"], stamps["result_received"])


def _counted(events: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for event in events:
        counts[event["method"]] = counts.get(event["method"], 0) + 1
    return counts


def _assign(spans: Sequence[Span], workers: int | None) -> tuple[list[Span], list[float]]:
    """Each span on a lane, and the gaps between them: the worker that became free last takes the next task, as engines prefer a warm one."""
    free: list[tuple[float, int]] = []
    busy: list[tuple[float, int]] = []
    placed, gaps, used = [], [], 0
    for span in spans:
        while busy and busy[0][0] <= span.started:
            free.append(heapq.heappop(busy))
        if free and (workers is None or used >= workers or span.started - max(free)[0] < 1.0):
            ended, lane = max(free)
            free.remove((ended, lane))
            gaps.append(span.started - ended)
        else:
            lane, used = used, used + 1
        heapq.heappush(busy, (span.ended, lane))
        placed.append(Span(span.method, span.created, span.started, span.ended, span.received, lane))
    return placed, gaps


def _reactions(spans: Sequence[Span]) -> list[float]:
    """For each task that was asked for after a result was seen: from that result being ready to the task's start."""
    seen = sorted((span.received, span.ended) for span in spans)
    reactions, at = [], 0
    for span in sorted(spans, key=lambda span: span.created):
        while at < len(seen) and seen[at][0] <= span.created:
            at += 1
        if at:
            reactions.append(span.started - seen[at - 1][1])
    return reactions


def _intervals(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {}
    for event in events:
        stamps = event["timestamps"]
        for name, (first, last) in INTERVALS.items():
            if first in stamps and last in stamps:
                found.setdefault(event["method"], {}).setdefault(name, []).append(1e3 * (stamps[last] - stamps[first]))
    return {method: {name: _quantile(values, 0.5) for name, values in rows.items()} for method, rows in found.items()}


def _quantiles(values: Sequence[float]) -> tuple[float, float]:
    return _quantile(values, 0.5), _quantile(values, 0.95)


def _quantile(values: Sequence[float], share: float) -> float:
    if not values:
        return float("nan")
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def draw_lanes(axes: Any, spans: Sequence[Span]) -> None:
    """Draw who did what when on matplotlib ``axes``: a lane for each worker, a colour for each method."""
    if not spans:
        return
    begun = min(span.created for span in spans)
    for number, method in enumerate(sorted({span.method for span in spans})):
        chosen = [span for span in spans if span.method == method]
        axes.barh(
            [span.lane for span in chosen], [span.ended - span.started for span in chosen], left=[span.started - begun for span in chosen],
            height=0.8, color=f"C{number}", edgecolor="white", linewidth=0.2, label=f"{method} ({len(chosen)})")
    axes.set_yticks(range(1 + max(span.lane for span in spans)), [f"worker {lane + 1}" for lane in range(1 + max(span.lane for span in spans))])
    axes.set_xlabel("seconds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=4, frameon=False)
