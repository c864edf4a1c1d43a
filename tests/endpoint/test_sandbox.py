"""What a worker puts around a function."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fedproxy.config.workers import Sandbox
from fedproxy.dispatch.shell import ShellFunction
from fedproxy.endpoint.sandbox import Surroundings, environment_for
from fedproxy.endpoint.usage import Meter
from fedproxy.errors import TaskMemoryError


def where() -> str:
    Path("made").touch()
    return os.getcwd()


def fail() -> None:
    Path("made").touch()
    raise ValueError


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPROXY_TASK_ID", "the-task")


def test_a_function_that_needs_nothing_around_it_stays_itself(tmp_path: Path) -> None:
    assert Surroundings(Sandbox("shell", folder=str(tmp_path))).around(where) is where
    assert Surroundings.of_environment({}).around(where) is where


def test_each_task_has_a_folder_and_leaves_none(tmp_path: Path) -> None:
    before = os.getcwd()
    assert Surroundings(Sandbox("all", folder=str(tmp_path))).around(where)() == str(tmp_path / "the-task")
    assert os.getcwd() == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("keep", "well", "badly"), [("never", False, False), ("failed", False, True), ("always", True, True)])
def test_folders_stay_as_configured(tmp_path: Path, keep: str, well: bool, badly: bool) -> None:
    around = Surroundings(Sandbox("all", keep, str(tmp_path))).around
    around(where)()
    assert (tmp_path / "the-task" / "made").exists() == well
    with pytest.raises(ValueError):  # noqa: PT011
        around(fail)()
    assert (tmp_path / "the-task" / "made").exists() == badly


def test_shell_functions_have_a_folder_unless_told_otherwise(tmp_path: Path) -> None:
    told = environment_for(Sandbox(keep="failed"), tmp_path)
    around = Surroundings.of_environment(told).around
    assert around(ShellFunction("pwd"))().stdout.strip() == str(tmp_path / "tasks" / "the-task")
    assert around(where) is where
    assert around(ShellFunction("touch left; exit 3"))().returncode == 3
    assert (tmp_path / "tasks" / "the-task" / "left").exists()


def test_the_end_of_memory_is_an_error_of_ours_and_of_pythons(tmp_path: Path) -> None:
    def greedy() -> None:
        raise MemoryError

    with pytest.raises(TaskMemoryError, match=r"1,000 bytes.*memory_per_worker") as caught:
        Surroundings(Sandbox("none"), 1000).around(greedy)()
    assert isinstance(caught.value, MemoryError)


def test_processor_time_and_peak_memory_are_measured() -> None:
    meter = Meter()
    for _ in range(2):
        meter.begin(b"f")
        held = bytearray(50_000_000)
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        cpu_s, with_much = meter.end(b"f")
        assert cpu_s >= 0.1
        del held
    meter.begin(b"f")
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    _, with_little = meter.end(b"f")
    assert with_much - with_little > 40_000_000
