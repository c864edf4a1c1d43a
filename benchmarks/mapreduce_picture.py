"""Draws the rows of ``python -m benchmarks mapreduce --out ROWS.jsonl``: ``python -m benchmarks.mapreduce_picture ROWS.jsonl PICTURE.png``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.mapreduce import MEMORY_BYTES, PHASES

mpl.use("Agg")

from matplotlib import pyplot as plt

Rows = list[dict[str, Any]]


def bars(axes: Any, rows: Rows, case: str) -> None:
    """Total time of each system."""
    found = [(row["system"], row["median"]) for row in rows if row["case"] == case and row["metric"] == "time"]
    found.sort(key=lambda pair: -pair[1])
    colors = ["tab:blue" if name.startswith("fedproxy") else "tab:gray" for name, _ in found]
    axes.barh([name for name, _ in found], [seconds for _, seconds in found], color=colors)
    axes.set(title=f"{case}: total time", xlabel="seconds")


def stacks(axes: Any, rows: Rows, case: str) -> None:
    """The mean of each phase, of fedproxy's backends."""
    means = {(row["system"], row["metric"]): row["median"] for row in rows if row["case"] == case and row["metric"].endswith("_mean")}
    systems = sorted({system for system, _ in means})
    left = [0.0] * len(systems)
    for phase in PHASES:
        values = [means.get((system, f"{phase}_mean"), 0.0) for system in systems]
        axes.barh(systems, values, left=left, label=phase.replace("_", " "))
        left = [one + other for one, other in zip(left, values, strict=True)]
    axes.set(title=f"{case}: mean of each phase", xlabel="milliseconds per task")
    axes.legend(fontsize="small")


def growth(axes: Any, rows: Rows) -> None:
    """Time and memory against size."""
    other = axes.twinx()
    for system in sorted({row["system"] for row in rows if "-in-" in row["case"]}):
        line = {}
        for row in rows:
            found = re.fullmatch(r"sort-(\d+)MB-in-.*", row["case"])
            if found and row["system"] == system and row["metric"] in ("time", "worker_peak"):
                line.setdefault(row["metric"], []).append((int(found[1]), row["median"]))
        axes.plot(*zip(*sorted(line["time"]), strict=True), marker="o", label=f"{system}: time")
        other.plot(*zip(*sorted(line["worker_peak"]), strict=True), marker="s", linestyle="--", label=f"{system}: worker's peak memory")
    other.set(ylabel="MB", ylim=(0, None))
    axes.set(title=f"sorting within {MEMORY_BYTES >> 20} MiB per task", xlabel="MB of input", ylabel="seconds", xscale="log")
    axes.legend(loc="upper left", fontsize="small")
    other.legend(loc="lower right", fontsize="small")


def main(source: str, target: str) -> None:
    """Read rows, write the picture."""
    rows: Rows = [json.loads(line) for line in Path(source).read_text().splitlines() if line.startswith("{")]
    cases = [case for case in dict.fromkeys(row["case"] for row in rows) if "-in-" not in case]
    figure, axes = plt.subplots(len(cases) + 1, 2, figsize=(15, 4.5 * (len(cases) + 1)), layout="constrained")
    for line, case in zip(axes, cases, strict=False):
        bars(line[0], rows, case)
        stacks(line[1], rows, case)
    growth(axes[-1][0], rows)
    axes[-1][1].axis("off")
    figure.savefig(target, dpi=100)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
