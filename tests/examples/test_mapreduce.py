"""The example runs as the documentation says, checks its answers itself, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import alive, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A home of its own, and a place for temporary files that must be empty afterwards."""
    (tmp_path / "tmp").mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FEDPROXY_")}
    yield {**clean, "FEDPROXY_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"), "PYTHONWARNINGS": "error"}
    left = [path.name for path in (tmp_path / "tmp").iterdir() if path.name.startswith("fedproxy")]
    assert left == []


def run(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "examples.mapreduce", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("app", "checked"), [("wordcount", "equal to a plain loop's counts"), ("sort", "in order, and the same multiset")])
def test_it_works_without_arguments(app: str, checked: str, environment: dict[str, str]) -> None:
    said = run(environment, app)
    assert checked in said
    assert "intermediate write" in said


def test_an_index_goes_to_the_folder_that_was_named(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.txt").write_text("red green")
    (tmp_path / "in" / "two.txt").write_text("green\n")
    run(environment, "index", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--report", str(tmp_path / "phases.png"))
    lines = b"".join(path.read_bytes() for path in sorted((tmp_path / "out").iterdir())).decode().splitlines()
    assert [line.partition("\t")[0] for line in lines] == ["green", "red"]
    assert (tmp_path / "phases.png").stat().st_size > 10_000


@pytest.mark.slow
def test_two_sites_say_what_crossed_between_them(environment: dict[str, str]) -> None:
    said = run(environment, "wordcount", "--federated", "--size", "4MB")
    assert "Over the link between the sites" in said
    assert "Moving the input instead: 2.0 MB" in said


def test_options_that_contradict_each_other_are_refused(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "examples.mapreduce", "sort", "/etc/hostname", "--size", "1MB"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: either an input")


def test_ctrl_c_ends_what_was_started(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.mapreduce", "sort", "--size", "60MB", "--maps", "500"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def agents() -> list[int]:
        found = [int(path.read_text().strip('{}').partition('"pid":')[2].partition(",")[0] or 0) for path in (tmp_path / "tmp").rglob("agent.json")]
        return [pid for pid in found if pid]

    wait_for(agents, "the endpoint", 60)
    pids = agents()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    wait_for(lambda: not any(map(alive, pids)), "the agent to end")
