"""The rows of ``python -m benchmarks mapreduce --out ROWS.jsonl`` as Markdown: ``python -m benchmarks.mapreduce_table ROWS.jsonl``."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from benchmarks.mapreduce import PHASES

NAIVE = "fedproxy/naive-"


@define
class Found:
    """What one system gave in one case."""

    medians: dict[str, float] = field(factory=dict)
    spread: dict[str, tuple[float, float]] = field(factory=dict)
    n: int = 0
    failed: str = ""
    """Why there are no figures."""


Cases = Mapping[str, Mapping[str, Found]]
"""Case → system → what it gave."""


def load(path: Path) -> Cases:
    """The rows of a file."""
    found: dict[str, dict[str, Found]] = defaultdict(lambda: defaultdict(Found))
    for line in path.read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        if row.get("benchmark") != "mapreduce" or not row.get("case"):
            continue
        one = found[row["case"]][row["system"]]
        if "skipped" in row:
            one.failed = " ".join(row["skipped"].split())[:80]
            continue
        one.medians[row["metric"]] = row["median"]
        one.spread[row["metric"]] = (row["min"], row["max"])
        one.n = row["n"]
    return found


def tables(cases: Cases) -> Iterator[str]:
    """One for the time of all systems, one for each case's phases, one for layouts, one for growing inputs."""
    jobs = [case for case in cases if "-in-" not in case]
    yield times(cases, jobs)
    for case in jobs:
        yield phases(case, cases[case])
    yield layouts(cases, jobs)
    yield growth({case: found for case, found in cases.items() if case not in jobs})


def times(cases: Cases, jobs: Sequence[str]) -> str:
    """Total seconds of each job: median and extremes."""
    systems = dict.fromkeys(system for case in jobs for system in cases[case])
    return table(["seconds in all", *jobs], [[system, *(_total(cases[case].get(system, Found())) for case in jobs)] for system in systems])


def _total(found: Found) -> str:
    if "time" not in found.medians:
        return found.failed or "not run"
    low, high = found.spread["time"]
    return f"{found.medians['time']:.2f}" + (f" ({low:.2f} to {high:.2f})" if found.n > 1 else " (once)")


def phases(case: str, systems: Mapping[str, Found]) -> str:
    """Milliseconds of a task in each phase, by backend."""
    lines = []
    for system, found in systems.items():
        if "map_mean" in found.medians:
            cells = [" / ".join(f"{found.medians[f'{phase}_{stat}']:.1f}" for stat in ("mean", "p50", "p95", "max")) for phase in PHASES]
            lines.append([system, *cells])
    return table([f"{case}: ms of a task, mean / p50 / p95 / max", *(phase.replace("_", " ") for phase in PHASES)], lines)


def layouts(cases: Cases, jobs: Sequence[str]) -> str:
    """Blocks beside an object for each map and reducer: seconds of intermediate writes and reads, of all tasks."""
    lines = []
    for case in jobs:
        for system, found in cases[case].items():
            block = cases[case].get(system.replace(NAIVE, "fedproxy/"), Found()).medians.get("intermediate")
            naive = found.medians.get("intermediate")
            if system.startswith(NAIVE) and block and naive:
                lines.append([case, system.removeprefix(NAIVE), f"{block:.2f}", f"{naive:.2f}", f"{naive / block:.1f}"])
    return table(["intermediate write + read, s of all tasks", "store", "blocks", "naive", "ratio"], lines)


def growth(cases: Cases) -> str:
    """Time and memory against size."""
    lines = [
        [case, system, *(f"{found.medians.get(name, 0.0):.1f}" for name in ("time", "worker_idle", "worker_peak", "spilled"))]
        for case, systems in cases.items() for system, found in systems.items() if "time" in found.medians
    ]
    return table(["input and bound", "system", "s", "an idle worker, MB", "its peak, MB", "spilled, MB"], lines)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)) + "\n"


if __name__ == "__main__":
    print("\n".join(tables(load(Path(sys.argv[1])))))
