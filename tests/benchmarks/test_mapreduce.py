"""Rows of the mapreduce benchmark as tables and as a picture: also where a system failed, and where a case is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.mapreduce import METRICS, PHASES
from benchmarks.mapreduce_table import load, tables


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two backends, one of them in both layouts, a peer, and a peer that failed."""
    path = tmp_path / "rows.jsonl"
    lines = []
    for system, factor in (("fedproxy/shm", 1.0), ("fedproxy/naive-shm", 4.0), ("fedproxy/file", 2.0)):
        lines += [row("sort-300x300", system, metric.name, factor) for metric in METRICS]
        lines += [row(f"sort-{size}MB-in-64MiB", system, name, factor) for size in (100, 1000) for name in ("time", "worker_peak", "spilled")]
    lines.append(row("sort-300x300", "dask/p2p", "time", 30.0))
    lines.append({"benchmark": "mapreduce", "system": "ray", "skipped": "no answer within 120 s: \nlog", "case": "sort-300x300"})
    lines.append({"benchmark": "mapreduce", "system": "proxystore", "skipped": "not installed"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def row(case: str, system: str, metric: str, value: float) -> dict[str, object]:
    return {"benchmark": "mapreduce", "case": case, "system": system, "metric": metric, "median": value, "min": value, "max": value, "n": 1}


def test_tables_hold_every_system_every_phase_and_the_ratio_of_the_layouts(rows: Path) -> None:
    times, phases, layouts, growth = tables(load(rows))
    assert "| dask/p2p | 30.00 (once) |" in times
    assert "| ray | no answer within 120 s: log |" in times
    assert all(phase.replace("_", " ") in phases for phase in PHASES)
    assert "| sort-300x300 | shm | 1.00 | 4.00 | 4.0 |" in layouts
    assert "| sort-1000MB-in-64MiB | fedproxy/file | 2.0 | 0.0 | 2.0 | 2.0 |" in growth


def test_the_picture_is_drawn_though_a_system_failed(rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.mapreduce_picture import draw

    draw(load(rows), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
