"""Draws the rows of ``python -m benchmarks mapreduce --out ROWS.jsonl``: ``python -m benchmarks.mapreduce_picture ROWS.jsonl PICTURE.png``."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.mapreduce import MB, MEMORY_BYTES, PHASES
from benchmarks.mapreduce_table import Cases, Found, load

INK, FAINT, GRID = "#22303c", "#8794a1", "#e8ebef"
OURS, NAIVE, PEER = "#2a9d6f", "#a8d5c2", "#c7ced8"
PHASE_COLOURS = ("#264653", "#2a9d6f", "#e9c46a", "#f4a261", "#6d8fb3", "#b9c4d0")
LINE_COLOURS = {"fedproxy/shm": "#2a9d6f", "fedproxy/file": "#e07a3f"}


def times(axes: Any, case: str, systems: Mapping[str, Found]) -> None:
    """Total time of each system, the quickest on top; those without a figure say why."""
    ranked = sorted(systems.items(), key=lambda pair: -pair[1].medians.get("time", float("inf")))
    for place, (system, found) in enumerate(ranked):
        seconds = found.medians.get("time")
        colour = PEER if not system.startswith("fedproxy") else NAIVE if "naive" in system else OURS
        if seconds is None:
            axes.text(0, place, f" {found.failed[:48] or 'not run'}", va="center", fontsize=7, color=FAINT)
            continue
        low, high = found.spread["time"]
        axes.barh(place, seconds, color=colour, xerr=[[seconds - low], [high - seconds]], error_kw={"ecolor": FAINT, "lw": 1})
        axes.text(high, place, f"  {seconds:.1f}", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(ranked)), [system for system, _ in ranked], fontsize=8)
    most = max((found.spread["time"][1] for found in systems.values() if "time" in found.spread), default=1.0)
    axes.set_xlim(0, 1.12 * most)
    dress(axes, f"{case}: from the first byte read to the last one written", "seconds")


def stacks(axes: Any, case: str, systems: Mapping[str, Found]) -> None:
    """The mean of each phase, of fedproxy's backends."""
    shown = [(system, found.medians) for system, found in systems.items() if "map_mean" in found.medians][::-1]
    left = [0.0] * len(shown)
    for phase, colour in zip(PHASES, PHASE_COLOURS, strict=True):
        values = [medians[f"{phase}_mean"] for _, medians in shown]
        axes.barh(range(len(shown)), values, left=left, label=phase.replace("_", " "), color=colour)
        left = [one + other for one, other in zip(left, values, strict=True)]
    axes.set_yticks(range(len(shown)), [system.removeprefix("fedproxy/") for system, _ in shown], fontsize=8)
    dress(axes, f"{case}: the six phases, mean of a task", "milliseconds")
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="best")


def growth(times: Any, memory: Any, cases: Cases) -> None:
    """Time and memory against size."""
    lines: dict[str, list[tuple[int, float, float]]] = {}
    idle = 0.0
    for case, systems in cases.items():
        size = re.fullmatch(r"sort-(\d+)MB-in-.*", case)
        for system, found in systems.items():
            if size and "time" in found.medians:
                lines.setdefault(system, []).append((int(size[1]), found.medians["time"], found.medians.get("worker_peak", float("nan"))))
                idle = max(idle, found.medians.get("worker_idle", 0.0))
    for system, points in lines.items():
        sizes, seconds, peaks = zip(*sorted(points), strict=True)
        times.plot(sizes, seconds, marker="o", color=LINE_COLOURS.get(system), label=system)
        memory.plot(sizes, peaks, marker="o", color=LINE_COLOURS.get(system), label=system)
    bottom = min((seconds for points in lines.values() for _, seconds, _ in points), default=1.0)
    times.set_ylim(bottom=bottom / 2)
    if not idle:
        memory.set_visible(False)  # rows without memory
    sizes = sorted({size for points in lines.values() for size, _, _ in points})
    memory.plot(sizes, sizes, color=FAINT, linestyle=":", label="the input itself")
    label = f"the bound: {MEMORY_BYTES >> 20} MiB for a task, and {idle:.0f} MB that an idle worker has"
    memory.axhline(idle + MEMORY_BYTES / MB, color=INK, linestyle="--", lw=1, label=label)
    bound = f"sort within {MEMORY_BYTES >> 20} MiB"
    for axes, title, unit in ((times, f"{bound}: time", "seconds"), (memory, f"{bound}: the most that a worker process had", "MB")):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sizes, [f"{size}" for size in sizes], fontsize=8)
        axes.tick_params(axis="x", which="minor", bottom=False)
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize=7, labelcolor=FAINT, length=0)
        dress(axes, title, "MB of input")
        axes.set_ylabel(unit, fontsize=8, color=INK)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(axis="y", color=GRID)
        axes.legend(fontsize=7, frameon=False)


def dress(axes: Any, title: str, unit: str) -> None:
    """What all have in common."""
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel(unit, fontsize=8, color=INK)
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=GRID)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)


def draw(cases: Cases, path: Path) -> None:
    """One line for each job (times, phases), one for inputs that grow."""
    jobs = [case for case in cases if "-in-" not in case]
    figure = Figure(figsize=(13, 4 * (len(jobs) + 1)), layout="constrained")
    grid = figure.subplots(len(jobs) + 1, 2, squeeze=False)
    for line, case in zip(grid, jobs, strict=False):
        times(line[0], case, cases[case])
        stacks(line[1], case, cases[case])
    growth(*grid[-1], cases)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    draw(load(Path(sys.argv[1])), Path(sys.argv[2]))
