from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.memory import MB, PeakMemory, pss
from benchmarks.processes import MARK, ProcessGroup

HOLD = "import sys; held = b'x' * {nbytes}; print('ready', flush=True); sys.stdin.read()"


@contextmanager
def process(code: str, *, mark: str | None) -> Iterator[subprocess.Popen[str]]:
    environment = {key: value for key, value in os.environ.items() if key != MARK} | ({MARK: mark} if mark else {})
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def test_a_group_is_what_carries_its_mark_and_nobody_else():
    group = ProcessGroup()
    with process(HOLD.format(nbytes=1), mark=group.mark) as ours, process(HOLD.format(nbytes=1), mark=None) as stranger:
        assert group.pids() == [ours.pid]
        assert stranger.pid not in group.pids()


def test_children_that_lost_the_mark_are_found_by_descent_and_remembered():
    group = ProcessGroup()
    grandchild = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], env={{}}); {HOLD.format(nbytes=1)}"
    with process(grandchild, mark=group.mark) as ours:
        found = group.pids()
        assert len(found) == 2
        ours.kill()
        ours.wait()
        (orphan,) = group.pids()
        assert orphan in found
        assert group.end() == 1
        assert group.pids() == []


def test_ending_a_group_ends_also_what_ignores_term():
    group = ProcessGroup()
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {HOLD.format(nbytes=1)}"
    with process(stubborn, mark=group.mark):
        assert group.end(grace_s=0.3) == 1
        assert group.pids() == []


def test_peak_memory_is_what_the_processes_hold_and_they_run_on():
    group = ProcessGroup()
    with process(HOLD.format(nbytes=100_000_000), mark=group.mark) as child:
        with PeakMemory(group.pids) as peak:
            child.communicate(timeout=10)
        assert peak.peak_bytes / MB == pytest.approx(110, abs=20)
        assert child.returncode == 0


def test_memory_of_a_process_that_ended_is_nothing():
    with process(HOLD.format(nbytes=1), mark=None) as child:
        child.kill()
        child.wait()
        assert pss([child.pid]) == 0
