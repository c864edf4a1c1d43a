"""Deadlines: a task that has not started by then never does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import ConfigError, TaskExpiredError
from tests.dispatch.gate import heard, say, wait_at
from tests.programs import Programs, wait_for

pytestmark = pytest.mark.filterwarnings("ignore::fedproxy.errors.EndpointOfflineWarning")


@pytest.fixture
def one_worker(programs: Programs):
    programs.start_service()
    programs.start_endpoint("local", 1)
    return programs


def test_what_waits_at_the_service_expires_with_all_that_needs_it(programs: Programs, tmp_path: Path) -> None:
    programs.start_service()
    programs.start_endpoint("later", 1)
    programs.kill("later")
    said = tmp_path / "said"
    with programs.client() as client, Executor("later", client=client) as executor:
        wait_for(lambda: not client.get_endpoint_status("later")["online"], "the service to notice")
        late = executor.using(deadline=0.4).submit(say, str(said), "late")
        needs = executor.submit(lambda word: word, late)
        held = executor.using(deadline=timedelta(seconds=0.5)).submit(lambda word: word, executor.submit(say, str(said), "first"))
        after_restart = executor.using(deadline=datetime.now(UTC) + timedelta(seconds=3)).submit(say, str(said), "later")
        with pytest.raises(TaskExpiredError, match=r"not started within its deadline of 0\.4 s"):
            late.result(20)
        with pytest.raises(TaskExpiredError, match="which it needs, ended EXPIRED"):
            needs.result(20)
        with pytest.raises(TaskExpiredError, match=r"deadline of 0\.5 s"):
            held.result(20)
        assert late.status() == "EXPIRED"
        programs.kill("service")
        programs.start_service()
        with pytest.raises(TaskExpiredError):
            after_restart.result(20)
        programs.start_endpoint("later", 1)
        wait_for(lambda: heard(said) == ["first"], "what had no deadline to run")
    assert heard(said) == ["first"]


def test_what_waits_in_the_agents_backlog_expires_and_what_runs_goes_on(one_worker: Programs, tmp_path: Path) -> None:
    gate, said = tmp_path / "gate", tmp_path / "said"
    with one_worker.client() as client, Executor("local", client=client) as executor:
        runs = executor.using(deadline=1.0).submit(wait_at, str(gate), str(said), "runs")
        wait_for(lambda: heard(said), "the first to run")
        late = executor.using(deadline=1.0).submit(say, str(said), "late")
        wait_for(lambda: late.status() == "SENT", "the agent to have it")
        patient = executor.using(deadline=3600).submit(say, str(said), "patient")
        with pytest.raises(TaskExpiredError, match="not started within its deadline"):
            late.result(20)
        assert not runs.done()
        gate.touch()
        assert runs.result(20) == "runs"
        assert patient.result(20) == "patient"
    assert heard(said) == ["runs", "patient"]


def test_an_agent_that_comes_back_is_told_again(one_worker: Programs, tmp_path: Path) -> None:
    """The deadline passes while the service is down; the agent had the task before, and no worker of it."""
    gate, said = tmp_path / "gate", tmp_path / "said"
    with one_worker.client() as client, Executor("local", client=client) as executor:
        runs = executor.submit(wait_at, str(gate), str(said), "runs")
        wait_for(lambda: heard(said), "the first to run")
        late = executor.using(deadline=2.0).submit(say, str(said), "late")
        wait_for(lambda: late.status() == "SENT", "the agent to have it")
        one_worker.kill("service")
        one_worker.start_service()
        with pytest.raises(TaskExpiredError):
            late.result(30)
        gate.touch()
        assert runs.result(20) == "runs"
    assert heard(said) == ["runs"]


def test_a_deadline_that_has_passed_is_told_and_nothing_runs(client: Client, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with Executor("local", client=client, deadline=datetime.now(UTC) - timedelta(hours=1)) as executor:
        with pytest.raises(TaskExpiredError, match="had passed when it came"):
            executor.submit(say, str(said), "never").result(20)
        assert executor.using(deadline=None).submit(say, str(said), "now").result(20) == "now"
    assert heard(said) == ["now"]


def test_a_retry_may_come_after_the_deadline(client: Client, tmp_path: Path) -> None:
    """The task has started in time: what follows is its own affair."""
    said = tmp_path / "said"

    def third_time(path: str) -> int:
        say(path, "x")
        with open(path) as file:
            if len(file.read().split()) < 3:
                raise ConnectionError
        return 3

    with Executor("local", client=client, retries=5, retry_backoff_s=0.8, deadline=0.5) as executor:
        assert executor.submit(third_time, str(said)).result(30) == 3


@pytest.mark.parametrize("wrong", [0, -1, timedelta(0), "tomorrow", float("nan"), float("inf"), True])
def test_what_is_no_deadline_is_refused(client: Client, wrong: object) -> None:
    with pytest.raises(ConfigError, match="deadline"):
        Executor("local", client=client, deadline=wrong)
