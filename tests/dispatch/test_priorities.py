"""Priorities: at the service, in the agent's backlog, changed while tasks wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import ConfigError, ServiceError
from fedproxy.wire.rest import RestClient
from tests.dispatch.gate import heard, say, wait_at
from tests.programs import Programs, wait_for


@pytest.fixture
def offline(programs: Programs):
    """A service whose only endpoint, ``later``, has one worker and is not there."""
    programs.start_service()
    programs.start_endpoint("later", 1)
    programs.kill("later")
    with programs.client() as client:
        wait_for(lambda: not client.get_endpoint_status("later")["online"], "the service to notice")
    return programs


@pytest.fixture
def one_worker(programs: Programs):
    programs.start_service()
    programs.start_endpoint("local", 1)
    return programs


@pytest.mark.filterwarnings("ignore::fedproxy.errors.EndpointOfflineWarning")
def test_higher_goes_first_at_the_service_also_after_a_change_and_a_restart(offline: Programs, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with offline.client() as client, Executor("later", client=client) as executor:
        futures = {}
        for word, priority in [("a", 0), ("b", 5), ("c", 0), ("d", -5), ("e", 5), ("f", 0), ("gone", 9)]:
            futures[word] = executor.using(priority=priority).submit(say, str(said), word)
        executor.flush()
        assert futures["gone"].cancel()
        assert futures["d"].reprioritize(7)
        states = client.reprioritize({futures["b"].task_id: -1, futures["f"].task_id: 6, "00000000-0000-7000-8000-000000000000": 1})
        assert sorted(states.values()) == ["QUEUED", "QUEUED", "UNKNOWN"]
        offline.kill("service")
        offline.start_service()
        offline.start_endpoint("later", 1)
        assert [futures[word].result(30) for word in "abcdef"] == list("abcdef")
        assert not futures["a"].reprioritize(3)
    assert heard(said) == ["d", "f", "e", "a", "c", "b"]


def test_higher_goes_first_in_the_agents_backlog_and_overtakes_what_was_sent_before(one_worker: Programs, tmp_path: Path) -> None:
    gate, said = tmp_path / "gate", tmp_path / "said"
    with one_worker.client() as client, Executor("local", client=client) as executor:
        blocker = executor.submit(wait_at, str(gate), str(said), "first")
        wait_for(lambda: heard(said), "the blocker to run")
        futures = [executor.using(priority=priority).submit(say, str(said), word) for word, priority in [("a", 0), ("b", 0), ("c", 3), ("d", 1), ("e", 3)]]
        wait_for(lambda: all(future.status() == "SENT" for future in futures), "the agent to have all")
        assert futures[1].reprioritize(2)
        wait_for(lambda: client.get_endpoint_status("local")["in_flight"] == 6, "nothing to have ended")
        gate.touch()
        assert [future.result(30) for future in (blocker, *futures)] == ["first", *"abcde"]
    assert heard(said) == ["first", "c", "e", "b", "d", "a"]


def test_a_batch_and_the_options_of_a_call_carry_priorities(one_worker: Programs, tmp_path: Path) -> None:
    gate, said = tmp_path / "gate", tmp_path / "said"
    with one_worker.client() as client, Executor("local", client=client, priority=1) as executor:
        blocker = executor.submit(wait_at, str(gate), str(said), "first")
        wait_for(lambda: heard(said), "the blocker to run")
        say_id = client.register_function(say)
        batch = client.create_batch(priority=2)
        batch.add(say_id, (str(said), "b"))
        batch.add(say_id, (str(said), "a"), priority=3)
        (ids,) = client.batch_run("local", batch).values()
        last = executor.submit(say, str(said), "c")
        wait_for(lambda: client.get_endpoint_status("local")["in_flight"] == 4, "the agent to have all")
        gate.touch()
        assert last.result(30) == "c"
        assert [client.get_result(each, timeout_s=20) for each in ids] == ["b", "a"]
        assert blocker.result(20) == "first"
    assert heard(said) == ["first", "a", "b", "c"]


def test_a_task_that_waits_for_another_can_be_moved_too(one_worker: Programs, tmp_path: Path) -> None:
    gate, said = tmp_path / "gate", tmp_path / "said"
    with one_worker.client() as client, Executor("local", client=client) as executor:
        first = executor.submit(wait_at, str(gate), str(said), "first")
        waiting = [executor.submit(lambda word, _first, path: say(path, word), word, first, str(said)) for word in "ab"]
        wait_for(lambda: all(future.status() == "WAITING" for future in waiting), "the tasks to be held")
        assert waiting[1].reprioritize(1)
        gate.touch()
        assert [future.result(30) for future in waiting] == ["a", "b"]
    assert heard(said) == ["first", "b", "a"]


def test_what_is_no_priority_is_refused_by_client_and_service(client: Client) -> None:
    for wrong in (1.5, "high", True, 2**40):
        with pytest.raises(ConfigError, match="priority"):
            Executor("local", client=client, priority=wrong)
    nobodys = "00000000-0000-4000-8000-000000000000"
    for body in ({nobodys: 2**40}, {nobodys: "high"}, {"x": 1}, [nobodys]):
        with pytest.raises(ServiceError):
            client.rest.json("POST", "/v1/tasks/priority", body)


@pytest.mark.filterwarnings("ignore::fedproxy.errors.EndpointOfflineWarning")
def test_nobody_moves_or_sees_the_tasks_of_another_user(offline: Programs) -> None:
    import sqlite3
    import time
    from contextlib import closing

    from fedproxy.service.accounts import _digest

    with closing(sqlite3.connect(offline.home / "service" / "service.db")) as database, database:
        database.execute("INSERT INTO tokens VALUES (?, ?, ?)", (_digest("other-token"), "other", time.time()))
    offline.kill("service")
    offline.start_service()
    with offline.client() as client:
        executor = Executor("later", client=client)
        task_id = executor.submit(say, "", "").task_id
        executor.flush()
        other = RestClient(client.url, "other-token")
        assert other.json("POST", "/v1/tasks/priority", {task_id: 5}) == {task_id: "UNKNOWN"}
        assert other.json("POST", "/v1/tasks/cancel", [task_id]) == {task_id: "UNKNOWN"}
        assert client.get_task(task_id)["state"] == "QUEUED"
        other.close()
        executor.shutdown(wait=False)
