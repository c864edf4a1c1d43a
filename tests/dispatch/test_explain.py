"""Why a task is where it is."""

from __future__ import annotations

import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.dispatch.explain import explanation
from fedproxy.errors import EndpointOfflineWarning
from tests.programs import Programs, wait_for


def until_there_is(path: str, *_others: object) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)


def test_a_running_a_waiting_and_a_dependent_task_say_what_holds_them(executor: Executor, tmp_path: Path) -> None:
    go = str(tmp_path / "go")
    running = [executor.submit(until_there_is, go) for _ in range(2)]
    wait_for(lambda: all("runs at 'local' on worker" in str(f.explain()) for f in running), "both to run")
    waiting = executor.submit(until_there_is, go)
    dependent = executor.submit(until_there_is, go, waiting)
    wait_for(lambda: waiting.status() == "SENT", "the third to be sent")
    wait_for(lambda: dependent.status() == "WAITING", "the fourth to be held")
    try:
        assert "for a free worker" in str(waiting.explain())
        assert waiting.explain().data["place"]["at"] == "waiting"
        assert f"it needs the results of {waiting.task_id} (SENT)" in str(dependent.explain())
    finally:
        Path(go).touch()
    assert dependent.result(20) is None
    words = str(dependent.explain())
    assert "is SUCCEEDED: it ran at local on" in words
    assert "running" in words
    assert dependent.explain().data["phases_s"]["running"] >= 0


def test_arguments_that_became_proxies_are_named_with_their_store(executor: Executor, running: Programs) -> None:
    array = np.ones(100_000)
    future = executor.submit(np.sum, array)
    assert future.result(20) == 100_000
    found = future.explain()
    assert f"went as a proxy through {running.store_url()}" in str(found)
    (stored,) = found.data["stored_arguments"]
    assert stored["bytes"] > array.nbytes
    assert found.data["bytes"]["read"] == stored["bytes"]
    assert found.data["bytes"]["arguments"] < 1000


def test_what_a_worker_reads_and_writes_in_stores_is_counted(executor: Executor) -> None:
    array = np.ones(100_000)
    future = executor.submit(np.multiply, array, 2)
    assert future.result(20).sum() == 200_000
    assert future.done_info is not None
    read, written = future.done_info.moved
    assert array.nbytes < read < array.nbytes + 1000
    assert array.nbytes < written < array.nbytes + 1000
    small = executor.submit(abs, -1)
    small.result(20)
    assert small.done_info is not None
    assert small.done_info.moved == (0, 0)


def test_a_task_for_an_offline_endpoint_says_since_when_and_what_to_do(programs: Programs) -> None:
    programs.start_service()
    programs.start_endpoint("away", 1)
    programs.kill("away", signal.SIGTERM)
    with programs.client() as client, Executor("away", client=client) as executor, warnings.catch_warnings():
        warnings.simplefilter("ignore", EndpointOfflineWarning)
        wait_for(lambda: not client.get_endpoint_status("away")["online"], "the endpoint to be offline")
        first, second = executor.submit(abs, -1), executor.submit(abs, -2)
        wait_for(lambda: second.status() == "QUEUED", "the tasks to be accepted")
        words = str(second.explain())
        assert "endpoint 'away' is offline since" in words
        assert "1 before it, 2 in the queue" in words
        assert "fedproxy endpoint start away" in words
        assert client.explain(first.task_id).data["queue"]["position"] == 0
        client.cancel([first.task_id, second.task_id])
        assert "cancelled before it was sent" in str(client.explain(first.task_id))


def test_a_failure_is_told_with_its_exception(executor: Executor) -> None:
    future = executor.submit(int, "x")
    assert isinstance(future.exception(20), ValueError)
    assert "the function raised at local: ValueError: invalid literal" in str(future.explain())


@pytest.mark.parametrize(("facts", "words"), [
    ({"state": "PENDING"}, "not acknowledged"),
    ({"state": "QUEUED", "endpoint": {"name": "e", "deleted": True}}, "was deleted"),
    ({"state": "QUEUED", "endpoint": {"name": "e", "online": True, "workers": 2, "in_flight": 9}, "queue": {"position": 3, "length": 5}},
     "9 tasks for 2 workers; 3 before it"),
    ({"state": "QUEUED", "endpoint": {"name": "e", "online": True}, "not_before": 40.0, "now": 30.0}, "due in 10.0 s (backoff"),
    ({"state": "QUEUED", "endpoint": {"name": "e"}, "deadline": 40.0, "now": 30.0}, "not started within 10.0 s"),
    ({"state": "SENT", "endpoint": {"name": "e", "online": False, "last_seen": 1.0}, "now": 31.0}, "offline since"),
    ({"state": "SENT", "endpoint": {"name": "e", "online": True}, "place": {"at": "blocked", "position": 0, "seconds": 0, "worker": ""}}, "cores, memory"),
    ({"state": "LOST", "reason": "gone"}, "retries_on_loss=1"),
    ({"state": "EXPIRED", "walltime_s": 3.0, "reason": "too long"}, "Walltime: it is stopped after 3 s."),
    ({"state": "QUEUED", "client_python": "3.11", "endpoint": {"python": "3.13.1", "online": False}}, "may not load there"),
])
def test_each_state_has_its_words(facts: dict, words: str) -> None:
    assert words in str(explanation({"task_id": "t", "function": "f", **facts}))


def test_an_explanation_by_id_needs_no_future(client: Client, executor: Executor) -> None:
    future = executor.submit(abs, -3)
    future.result(20)
    assert client.explain(future.task_id).data["function"] == "abs"
