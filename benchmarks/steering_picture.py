"""The stages of steering as a picture, from rows of ``python -m benchmarks steering --json``: ``python -m benchmarks.steering_picture ROWS PNG``."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.steering import STAGES

PAPER_MS = {"paper/redis": (7.15, 0.70, 18.04, 0.11), "paper/file": (32.31, 11.36, 244.72, 3.50)}
"""funcX (TPDS 2022), Table 2: 1,000 tasks, 1 MB in and 1 MB out, on the authors' machines."""


def rows(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Case → system → metric → median."""
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in path.read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        if row.get("benchmark") == "steering" and "median" in row:
            found[row["case"]][row["system"]][row["metric"]] = row["median"]
    return found


def draw(found: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Stages on the left, on a logarithmic scale; reaction and idle gaps on the right."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    stages, pauses = figure.subplots(1, 2, width_ratios=[2, 1])
    bars(stages, {system: [row[stage] for stage in STAGES] for system, row in found.get("1MB-in-out", {}).items()} | PAPER_MS, STAGES)
    stages.set_title("1 MB in, 1 MB out: mean of each stage", fontsize=10)
    metrics = ("reaction_p50", "reaction_p95", "idle_p50", "idle_p95")
    bars(pauses, {system: [row.get(metric, float("nan")) for metric in metrics] for system, row in found.get("reaction", {}).items()}, metrics)
    pauses.set_title("a result is ready → the next task runs", fontsize=10)
    figure.savefig(path, dpi=110)


def bars(axes: Any, systems: dict[str, Any], names: tuple[str, ...]) -> None:
    """Grouped bars, ms."""
    width = 0.8 / max(1, len(systems))
    for number, (system, values) in enumerate(systems.items()):
        hatch = "//" if system.startswith("paper") else None
        axes.bar([place + number * width for place in range(len(names))], values, width, label=system, hatch=hatch, alpha=0.5 if hatch else 1.0)
    axes.set_xticks([place + 0.4 for place in range(len(names))], [name.replace("_", " ") for name in names], fontsize=9)
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, frameon=False)


if __name__ == "__main__":
    draw(rows(Path(sys.argv[1])), Path(sys.argv[2]))
