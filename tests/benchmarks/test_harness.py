from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from benchmarks import options
from benchmarks.harness import Run
from benchmarks.options import Options
from benchmarks.rows import Row, Skipped

FAKE = "tests.benchmarks.fake_benchmark"


@pytest.fixture
def pid_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "pid"
    monkeypatch.setenv("FAKE_PID_FILE", str(path))
    return path


def run_fake(monkeypatch: pytest.MonkeyPatch, *peers: str) -> tuple[list[Row], dict[str, Skipped]]:
    monkeypatch.setattr(options, "QUICK", evolve(options.QUICK, repetition_s=5.0))
    run = Run(FAKE, Options(quick=True, peers=frozenset(peers)))
    rows = list(run())
    return rows, {record.system: record for record in run.skipped}


def test_repetitions_after_a_warm_up_become_one_row_with_their_median(pid_file, monkeypatch):
    rows, skipped = run_fake(monkeypatch)
    first = next(row for row in rows if row.case == "first")
    assert (first.median, first.min, first.max, first.n) == (3.0, 2.0, 4.0, 3)
    assert first.params["workers"] == 2
    assert not skipped


def test_a_peer_that_is_not_installed_is_skipped_and_says_what_to_install(pid_file, monkeypatch):
    rows, skipped = run_fake(monkeypatch, "dask")
    assert "no_such_peer is not installed: pip install 'fedproxy[bench]'" in skipped["dask"].skipped
    assert {row.system for row in rows} == {"fedproxy"}


def test_systems_that_crash_hang_or_fail_are_reported_and_the_others_go_on(pid_file, monkeypatch):
    rows, skipped = run_fake(monkeypatch, "htex", "ray", "ppe", "loky")
    assert "its driver process ended" in skipped["htex"].skipped
    assert skipped["ray"].skipped == "ValueError: wrong result"
    assert skipped["ppe"].skipped == "no such thing"
    assert "no answer within 5 s" in skipped["loky"].skipped
    assert {row.system for row in rows if row.case == "first"} == {"fedproxy"}
    assert {row.system for row in rows if row.case == "second"} == {"fedproxy", "ray", "ppe"}


def test_a_system_that_is_slow_in_a_case_is_asked_once_and_one_that_is_too_slow_has_failed(pid_file, monkeypatch):
    rows, skipped = run_fake(monkeypatch, "proxystore")
    assert [row.n for row in rows if (row.case, row.system) == ("third", "fedproxy")] == [1]
    assert skipped["proxystore"].case == "fourth"
    assert "no answer within 1 s" in skipped["proxystore"].skipped


def test_processes_that_a_system_leaves_behind_are_ended(pid_file, monkeypatch):
    run_fake(monkeypatch)
    assert not runs(int(pid_file.read_text()))


def runs(pid: int) -> bool:
    """Whether it is there and no zombie that waits for a lazy init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
