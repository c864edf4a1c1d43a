"""``fedproxy task``, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from fedproxy.dispatch.executor import Executor
from tests.programs import Programs


def command(running: Programs, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FEDPROXY_HOME": str(running.home)}
    return subprocess.run([sys.executable, "-m", "fedproxy", "task", *args], env=environment, capture_output=True, text=True, timeout=60)


def speak(path: str) -> None:
    print("out", flush=True)
    print("err", file=sys.stderr)
    while not os.path.exists(path):
        time.sleep(0.01)
    print("end")


def test_logs_are_followed_to_the_end_on_the_streams_that_they_were_written_to(executor: Executor, running: Programs, tmp_path: Path) -> None:
    future = executor.submit(speak, str(tmp_path / "go"))
    environment = {**os.environ, "FEDPROXY_HOME": str(running.home)}
    following = subprocess.Popen([sys.executable, "-m", "fedproxy", "task", "logs", future.task_id, "--follow"], env=environment,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert following.stdout is not None
    assert following.stdout.readline() == "out\n"
    assert not future.done()
    (tmp_path / "go").touch()
    assert following.communicate(timeout=30) == ("end\n", "err\n")
    assert following.returncode == 0
    found = json.loads(command(running, "logs", future.task_id, "--json").stdout)
    assert (found["stdout"], found["stderr"], found["live"]) == ("out\nend\n", "err\n", False)


def test_a_task_is_explained_and_an_unknown_one_is_an_error(executor: Executor, running: Programs) -> None:
    future = executor.submit(abs, -1)
    future.result(20)
    assert "is SUCCEEDED" in command(running, "explain", future.task_id).stdout
    missing = command(running, "explain", "00000000-0000-4000-8000-000000000000")
    assert missing.returncode == 1
    assert "no task" in missing.stderr
