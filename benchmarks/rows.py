"""What a run prints: rows with medians, and records of what was skipped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import median

from attrs import asdict, frozen

DIGITS = 6
"""Significant digits that are printed: more would be noise."""


@frozen
class Metric:
    """What is measured, in which unit, and which way is better: ``"higher"`` or ``"lower"``."""

    name: str
    unit: str
    better: str


@frozen
class Row:
    """One metric of one system in one case: the median of ``n`` repetitions, with the extremes."""

    benchmark: str
    case: str
    system: str
    metric: str
    unit: str
    better: str
    median: float
    min: float
    max: float
    n: int
    params: Mapping[str, object]

    def to_json(self) -> str:
        """The row as one line."""
        return json.dumps(asdict(self), separators=(", ", ": "))


@frozen
class Skipped:
    """A system (or one case of it) that gave no figure, and why."""

    benchmark: str
    system: str
    skipped: str
    case: str | None = None

    def to_json(self) -> str:
        """The record as one line."""
        return json.dumps({key: value for key, value in asdict(self).items() if value is not None})


@frozen
class Label:
    """Where samples belong."""

    benchmark: str
    case: str
    system: str


def rows_of(label: Label, samples: Sequence[Mapping[str, float]], metrics: Sequence[Metric], params: Mapping[str, object]) -> list[Row]:
    """One row for each metric that occurs in ``samples``, in the order of ``metrics``.

    A metric may be missing from some samples (memory is taken in repetitions of its own): ``n`` counts those with it.

    Raises:
        KeyError: a sample holds a metric that is not in ``metrics``.
    """
    known = {metric.name: metric for metric in metrics}
    values: dict[str, list[float]] = {name: [] for name in known}
    for sample in samples:
        for name, value in sample.items():
            values[name].append(value)
    return [_row(label, known[name], found, params) for name, found in values.items() if found]


def _row(label: Label, metric: Metric, values: Sequence[float], params: Mapping[str, object]) -> Row:
    return Row(
        benchmark=label.benchmark,
        case=label.case,
        system=label.system,
        metric=metric.name,
        unit=metric.unit,
        better=metric.better,
        median=rounded(median(values)),
        min=rounded(min(values)),
        max=rounded(max(values)),
        n=len(values),
        params=params,
    )


def rounded(value: float) -> float:
    """``value`` to six significant digits."""
    return float(f"{value:.{DIGITS}g}")


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` % of ``values`` do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]
