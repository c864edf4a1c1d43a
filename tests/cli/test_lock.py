from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fedproxy.cli.lock import ProcessLock

HOLD = """
import sys
from pathlib import Path
from fedproxy.cli.lock import ProcessLock
print(ProcessLock(Path(sys.argv[1])).acquire(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path):
    """Start a process that takes the lock and holds it until it is told to go."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "pid")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_holder_is_the_process_that_took_it(tmp_path, hold):
    process, got = hold()
    assert got == "True"
    assert ProcessLock(tmp_path / "pid").holder() == process.pid


def test_a_second_process_does_not_get_it(hold):
    hold()
    assert hold()[1] == "False"


def test_kill_9_frees_it_whatever_the_file_says(tmp_path, hold):
    process, _ = hold()
    process.kill()
    process.wait()
    assert (tmp_path / "pid").read_text().strip() == str(process.pid)
    assert ProcessLock(tmp_path / "pid").holder() is None
    assert hold()[1] == "True"


def test_a_stale_file_that_names_a_living_process_is_not_believed(tmp_path):
    (tmp_path / "pid").write_text(f"{os.getppid()}\n")
    assert ProcessLock(tmp_path / "pid").holder() is None


def test_asking_creates_nothing(tmp_path):
    assert ProcessLock(tmp_path / "pid").holder() is None
    assert not (tmp_path / "pid").exists()
