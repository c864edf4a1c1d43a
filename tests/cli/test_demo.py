"""``fedproxy demo`` with its own service and endpoints: right answers, and nothing left however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedproxy.store import Store

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def temporary(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def env(clean_env, temporary):
    return {**clean_env, "TMPDIR": str(temporary)}


@pytest.fixture
def nothing_left(temporary, alive_below, wait_until):
    """At the end: no process, no temporary file, no shared memory of the demo."""
    before = set(SHARED_MEMORY.glob("*"))
    yield
    wait_until(lambda: not alive_below(temporary), timeout_s=5)
    assert list(temporary.iterdir()) == []
    ours = {path for path in SHARED_MEMORY.glob("*demo*") if path not in before}  # or another run's, which ends soon
    wait_until(lambda: not any(path.exists() for path in ours), timeout_s=60)


@pytest.fixture
def text(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text("to be or not to be " * 20_000)
    return folder


def demo_command(tmp_path, text, *arguments):
    out = tmp_path / "picture.png"
    return [
        sys.executable, "-m", "fedproxy", "demo", "--input", str(text), "--out", str(out), "--array-mb", "20", *arguments
    ]


@pytest.mark.slow
def test_the_demo_counts_right_and_keeps_the_array_out_of_the_service(tmp_path, text, env, nothing_left):
    done = subprocess.run(
        demo_command(tmp_path, text, "--json"), env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["correct"]
    assert (told["words"], told["distinct_words"]) == (480_000, 4)
    _count, by_value, by_proxy = told["stages"]
    assert by_value["service_bytes"] >= 20_000_000
    assert by_proxy["service_bytes"] < 100_000
    assert by_proxy["store_bytes"] >= 20_000_000
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_demo_prints_its_table(tmp_path, text, env, nothing_left):
    done = subprocess.run(
        demo_command(tmp_path, text), env={**env, "COLUMNS": "120"}, capture_output=True, text=True, timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "array by proxy" in done.stdout
    assert "Word count equals the plain single-process count" in done.stdout


def _interruptible() -> None:
    """In the child: a test run in the background ignores these, and what it starts inherits that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["service", "endpoints", "work"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_leaves_nothing(
    tmp_path, text, env, temporary, when, number, wait_until, alive_below, nothing_left
):
    reached = {"service": ".log", "endpoints": "endpoint.log", "work": "agent.json"}[when]
    process = subprocess.Popen(
        demo_command(tmp_path, text), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=_interruptible,
    )
    try:
        wait_until(lambda: list(temporary.glob(f"**/*{reached}")))
        process.send_signal(number)
        process.send_signal(number)  # impatience must not stop the cleaning
        _, errors = process.communicate(timeout=40)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_killed_demo_leaves_no_process(tmp_path, text, env, temporary, wait_until, alive_below):
    process = subprocess.Popen(
        demo_command(tmp_path, text), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: list(temporary.glob("**/agent.json")))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    wait_until(lambda: not alive_below(temporary))
    for config in temporary.glob("**/config.yaml"):  # shared memory is what only a clean end removes
        for url in re.findall(r"shm://[^'\s]+", config.read_text()):
            Store.from_url(url).close(clear=True)


@pytest.mark.parametrize(("arguments", "said"), [
    (("--input", "/no/such/file"), "--input /no/such/file does not exist"),
    (("--out", "/no/such/folder/x.png"), "there is no folder /no/such/folder"),
    (("--array-mb", "0"), "--array-mb must be at least 1"),
])
def test_wrong_options_are_named_before_anything_starts(cli, arguments, said):
    done = cli("demo", *arguments)
    assert done.returncode == 1
    assert said in done.stderr
