"""What a task writes can be read, while it runs and afterwards."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import TaskLostError
from fedproxy.protocol.written import HEAD_BYTES, TAIL_BYTES
from tests.programs import wait_for


def speak() -> None:
    print("from Python")
    print("and its error", file=sys.stderr)
    ctypes.CDLL(None).puts(b"from C")
    subprocess.run("echo from a program; echo its error >&2", shell=True, check=True)
    sys.stdout.write("no end of line")


def until_there_is(path: str, say: str) -> None:
    print(say)
    while not os.path.exists(path):
        time.sleep(0.01)
    print("done")


def test_everything_a_task_writes_is_in_its_logs_and_only_there(executor: Executor) -> None:
    loud, silent = executor.submit(speak), executor.submit(abs, -1)
    assert (loud.result(20), silent.result(20)) == (None, 1)
    logs = loud.logs()
    assert logs.stdout == "from Python\nfrom C\nfrom a program\nno end of line"
    assert logs.stderr == "and its error\nits error\n"
    assert (logs.live, logs.truncated) == (False, False)
    assert str(silent.logs()) == ""


def test_logs_are_there_while_the_task_runs(executor: Executor, tmp_path: Path) -> None:
    go = tmp_path / "go"
    future = executor.submit(until_there_is, str(go), "begun")
    wait_for(lambda: future.logs().stdout == "begun\n", "the first line")
    assert future.logs().live
    assert not future.done()
    seen = []
    for stream, text in executor.client.follow_logs(future.task_id):
        seen.append((stream, text))
        go.touch()
    assert "".join(text for _, text in seen) == "begun\ndone\n"
    assert future.result(20) is None
    assert not future.logs().live


def test_long_output_is_cut_in_the_middle_and_says_so(executor: Executor) -> None:
    def much() -> int:
        for i in range(40_000):
            print(f"line {i:06}")
        return 40_000 * 12

    future = executor.submit(much)
    size = future.result(30)
    logs = future.logs()
    assert logs.truncated
    assert logs.stdout.startswith("line 000000\n")
    assert logs.stdout.endswith("line 039999\n")
    assert f"[... {size - HEAD_BYTES - TAIL_BYTES:,} bytes are not kept ...]" in logs.stdout


def test_a_dead_worker_leaves_its_last_words(executor: Executor) -> None:
    def die() -> None:
        print("last words")
        print("of an error", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGKILL)

    assert executor.submit(print, "somebody else's").result(20) is None
    future = executor.submit(die)
    with pytest.raises(TaskLostError, match="of an error") as caught:
        future.result(20)
    assert "somebody else's" not in str(caught.value)
    assert (future.logs().stdout, future.logs().stderr) == ("last words\n", "of an error\n")


def test_a_task_may_close_or_replace_its_streams(executor: Executor) -> None:
    def rude(how: int) -> None:
        print("before")
        if how == 0:
            sys.stdout = None  # type: ignore[assignment]
        elif how == 1:
            sys.stdout.close()
        else:
            os.close(1)

    for how in range(3):
        future = executor.submit(rude, how)
        assert future.result(20) is None
        assert future.logs().stdout == "before\n"
    after = [executor.submit(print, i) for i in range(8)]
    assert [future.result(20) or future.logs().stdout for future in after] == [f"{i}\n" for i in range(8)]


def test_a_failure_is_retried_and_the_last_attempt_is_shown(client: Client, tmp_path: Path) -> None:
    def third_time(path: str) -> str:
        tried = os.path.getsize(path) if os.path.exists(path) else 0
        Path(path).write_bytes(b"x" * (tried + 1))
        print(f"attempt {tried + 1}")
        if tried < 2:
            raise ValueError(f"not the time {tried + 1}")
        return "now"

    with Executor("local", client=client, retries=3) as executor:
        future = executor.submit(third_time, str(tmp_path / "tries"))
        assert future.result(20) == "now"
        assert future.logs().stdout == "attempt 3\n"
        assert future.logs().attempt == 2
        words = str(future.explain())
    assert "2 of 3 after exceptions" in words
    assert "ValueError: not the time 1" in words
