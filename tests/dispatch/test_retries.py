"""Retries by type of exception, with a delay that grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import ConfigError, TaskFailedError
from tests.dispatch.gate import heard, say
from tests.programs import Programs, wait_for


class Flaky(ConnectionError):
    """The user's own: it travels by value, and is another class object in each worker."""


def fail(path: str, times: int, kind: type[Exception]) -> int:
    say(path, "x")
    with open(path) as file:
        tries = len(file.read().split())
    if tries <= times:
        raise kind(f"try {tries}")
    return tries


@pytest.mark.parametrize(("kind", "retry_on", "runs"), [
    (Flaky, (Flaky,), 3), (Flaky, ConnectionError, 3), (Flaky, (KeyError, OSError), 3), (Flaky, (), 3),
    (ValueError, (Flaky, ConnectionError), 1), (ConnectionError, (Flaky,), 1),
])
def test_only_what_is_named_and_what_derives_from_it_is_tried_again(client: Client, tmp_path: Path, kind: type[Exception], retry_on: object,
                                                                    runs: int) -> None:
    said = tmp_path / "said"
    with Executor("local", client=client, retries=3, retry_on=retry_on, retry_backoff_s=0.01) as executor:
        future = executor.submit(fail, str(said), 2, kind)
        if runs == 3:
            assert future.result(30) == 3
        else:
            with pytest.raises(kind, match="try 1"):
                future.result(30)
    assert len(heard(said)) == runs


def test_a_task_runs_at_most_as_often_as_allowed(client: Client, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with Executor("local", client=client, retries=2, retry_on=Flaky, retry_backoff_s=0.01) as executor, pytest.raises(Flaky, match="try 3"):
        executor.submit(fail, str(said), 100, Flaky).result(30)
    assert len(heard(said)) == 3


def test_what_was_raised_when_the_process_was_asked_to_exit_counts_as_what_it_is(client: Client, tmp_path: Path) -> None:
    said = tmp_path / "said"

    def leave(path: str) -> None:
        say(path, "x")
        raise SystemExit(3)

    with Executor("local", client=client, retries=1, retry_on=SystemExit, retry_backoff_s=0.0) as executor, pytest.raises(TaskFailedError):
        executor.submit(leave, str(said)).result(30)
    assert len(heard(said)) == 2


@pytest.mark.parametrize("killed", ["service", "local"])
def test_a_delay_outlives_the_death_of_the_program(programs: Programs, tmp_path: Path, killed: str) -> None:
    programs.start_service()
    programs.start_endpoint("local", 1)
    said = tmp_path / "said"
    with programs.client() as client, Executor("local", client=client, retries=1, retry_backoff_s=20.0, retry_backoff_most_s=5.0) as executor:
        future = executor.submit(fail, str(said), 1, Flaky)
        wait_for(lambda: future.status() == "QUEUED" or future.done(), "the first try to have failed")
        programs.kill(killed)
        if killed == "service":
            programs.start_service()
        else:
            programs.start_endpoint("local", 1)
        assert future.result(30) == 2
    assert len(heard(said)) == 2


def test_a_delayed_task_can_be_cancelled(client: Client, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with Executor("local", client=client, retries=50, retry_backoff_s=60.0) as executor:
        future = executor.submit(fail, str(said), 100, Flaky)
        wait_for(lambda: future.status() == "QUEUED", "the task to wait for another try")
        assert future.cancel()
        assert future.status() == "CANCELLED"


@pytest.mark.parametrize("wrong", [{"retry_on": "ValueError"}, {"retry_on": [3]}, {"retry_backoff_s": -1}, {"retry_backoff_most_s": "x"}])
def test_what_makes_no_sense_is_refused(client: Client, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="retry_"):
        Executor("local", client=client, retries=1, **wrong)
