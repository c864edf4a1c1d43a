"""Programs are killed in the middle of a thousand tasks; a ledger outside fedproxy counts what really ran."""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from fedproxy.dispatch.executor import Executor
from fedproxy.dispatch.future import TaskFuture
from fedproxy.errors import TaskLostError
from tests.programs import Programs, wait_for

TASKS = 1_000


def record(path: str, number: int) -> int:
    """Runs at the endpoint: leaves one line for each execution, in one write, then works a moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, b"%d\n" % number)
    os.close(descriptor)
    time.sleep(0.002)
    return number * number


class Ledger:
    """What was submitted, what ran, what came back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def executions(self) -> Counter[int]:
        return Counter(int(line) for line in self.path.read_text().splitlines())

    def check(self, futures: list[TaskFuture[int]], *, lost_at_most: int, runs_at_most: int = 1) -> None:
        executions = self.executions()
        lost = 0
        for number, future in enumerate(futures):
            assert future.done()
            try:
                assert future.result() == number * number
                assert executions[number] >= 1, f"task {number} succeeded without having run"
            except TaskLostError:
                lost += 1
            assert executions[number] <= runs_at_most, f"task {number} ran {executions[number]} times"
        assert lost <= lost_at_most, f"{lost} tasks lost"

    def check_service(self, executor: Executor, futures: list[TaskFuture[int]]) -> None:
        """The service agrees: each task is there once, in a terminal state, the one that its future was told."""
        entries = executor.client.get_task_group(executor.task_group_id)
        states = {entry["task_id"]: entry["state"] for entry in entries}
        assert len(entries) == len(states) == len(futures)
        assert all(states[f.task_id] == f.status() for f in futures)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "executions")


def submit_all(executor: Executor, ledger: Ledger, count: int = TASKS) -> list[TaskFuture[int]]:
    return [executor.submit(record, str(ledger.path), number) for number in range(count)]


def some_have_run(ledger: Ledger, at_least: int) -> None:
    wait_for(lambda: sum(ledger.executions().values()) >= at_least, f"{at_least} executions", 30)


@pytest.mark.timeout(120)
def test_a_killed_worker_costs_at_most_its_own_task(programs: Programs, ledger: Ledger) -> None:
    programs.start_service()
    programs.start_endpoint()
    with programs.client() as client, Executor("local", client=client) as executor:
        futures = submit_all(executor, ledger)
        kills = 0
        for at in (100, 400, 700):
            some_have_run(ledger, at)
            os.kill(random.Random(at).choice(programs.workers()), signal.SIGKILL)
            kills += 1
        concurrent.futures.wait(futures, timeout=60)
        ledger.check(futures, lost_at_most=kills)
        ledger.check_service(executor, futures)


@pytest.mark.timeout(120)
def test_a_killed_agent_loses_only_what_its_workers_had(programs: Programs, ledger: Ledger) -> None:
    programs.start_service()
    programs.start_endpoint()
    with programs.client() as client, Executor("local", client=client) as executor:
        futures = submit_all(executor, ledger)
        some_have_run(ledger, 200)
        programs.kill("local")
        programs.start_endpoint()
        some_have_run(ledger, 600)
        programs.kill("local")
        programs.start_endpoint()
        concurrent.futures.wait(futures, timeout=60)
        ledger.check(futures, lost_at_most=2 * 2 * 4)
        ledger.check_service(executor, futures)


@pytest.mark.timeout(120)
def test_a_killed_service_loses_nothing(programs: Programs, ledger: Ledger) -> None:
    programs.start_service()
    programs.start_endpoint()
    with programs.client() as client, Executor("local", client=client) as executor:
        futures: list[TaskFuture[int]] = []
        submitter = threading.Thread(target=lambda: futures.extend(submit_all(executor, ledger)))
        submitter.start()
        for at in (50, 300, 600):
            some_have_run(ledger, at)
            programs.kill("service")
            programs.start_service()
        submitter.join(60)
        assert not submitter.is_alive()
        concurrent.futures.wait(futures, timeout=60)
        ledger.check(futures, lost_at_most=0)
        ledger.check_service(executor, futures)


@pytest.mark.timeout(120)
def test_everything_is_killed_at_once(programs: Programs, ledger: Ledger) -> None:
    programs.start_service()
    programs.start_endpoint()
    with programs.client() as client, Executor("local", client=client) as executor:
        futures = submit_all(executor, ledger)
        some_have_run(ledger, 300)
        programs.kill("service")
        programs.kill("local")
        programs.start_service()
        programs.start_endpoint()
        concurrent.futures.wait(futures, timeout=60)
        ledger.check(futures, lost_at_most=2 * 4)
        ledger.check_service(executor, futures)


@pytest.mark.timeout(120)
def test_what_was_lost_runs_again_if_that_is_allowed(programs: Programs, ledger: Ledger) -> None:
    programs.start_service()
    programs.start_endpoint()
    with programs.client() as client, Executor("local", client=client, retries_on_loss=2) as executor:
        futures = submit_all(executor, ledger)
        some_have_run(ledger, 300)
        programs.kill("local")
        programs.start_endpoint()
        concurrent.futures.wait(futures, timeout=60)
        ledger.check(futures, lost_at_most=0, runs_at_most=3)
        ledger.check_service(executor, futures)


@pytest.mark.timeout(120)
def test_a_client_that_was_killed_finds_all_its_results(programs: Programs, ledger: Ledger, tmp_path: Path) -> None:
    programs.start_service()
    programs.start_endpoint()
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.faults.test_kill import record\n"
        "from fedproxy import Executor\n"
        "executor = Executor('local')\n"
        f"futures = [executor.submit(record, {str(ledger.path)!r}, n) for n in range(500)]\n"
        "futures[20].result()\n"
        "Path(sys.argv[1]).write_text(executor.task_group_id)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n")
    import subprocess
    import sys

    group = tmp_path / "group"
    environment = {**os.environ, "FEDPROXY_HOME": str(programs.home)}
    killed = subprocess.run([sys.executable, "-c", script, str(group)], env=environment, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    with programs.client() as client, Executor("local", client=client) as executor:
        futures = executor.reload_tasks(group.read_text())
        concurrent.futures.wait(futures, timeout=60)
        assert len(futures) >= 21
        assert [f.result() for f in futures] == [n * n for n in range(len(futures))]


def test_a_second_agent_is_refused(programs: Programs) -> None:
    programs.start_service()
    programs.start_endpoint()
    first = programs.running.pop("local")
    programs.start_endpoint(wait=False)
    second = programs.running["local"]
    assert second.wait(20) != 0
    assert "already running" in programs.log("local")
    programs.running["local"] = first
    with programs.client() as client:
        assert client.get_endpoint_status("local")["online"]
