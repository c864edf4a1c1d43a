"""Flow control: what is queued stays where it is durable, and whoever sends too much is asked to wait."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests

from fedproxy.config.service import LimitsConfig
from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.dispatch.future import TaskFuture
from fedproxy.errors import ServiceBusyError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode, encode_spec
from fedproxy.protocol.ids import function_hash, new_task_id, spec_hash
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import serialize
from fedproxy.service.admission import Admission
from fedproxy.service.rows import LiveTask
from fedproxy.service.sessions import Session
from tests.programs import Programs, wait_for
from tests.service.wire_agent import WireAgent

FUNCTION = b"not a function"
VALUE = bytes(serialize("done"))


def submit(client: Client, endpoint: str, count: int, payload: bytes = b"x", group: str = "g") -> None:
    spec = encode_spec(m.Spec(function_hash(FUNCTION), endpoint))
    items = tuple(m.Item(new_task_id(), spec_hash(spec), len(payload)) for _ in range(count))
    message = m.Submit(group, {spec_hash(spec): spec}, (m.Blob(function_hash(FUNCTION), len(FUNCTION)),), items)
    client.rest.binary("POST", "/v1/tasks", encode(message) + FUNCTION + payload * count)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    made = Programs(tmp_path_factory.mktemp("home"))
    try:
        made.start_service()
        yield made
    finally:
        made.stop()


def test_an_agent_gets_what_it_has_credit_for_and_the_rest_waits_at_the_service(service: Programs) -> None:
    with service.client() as client:
        agent = WireAgent(client, "bounded", credit=25)
        try:
            for _ in range(5):
                submit(client, agent.endpoint_id, 2_000)
            wait_for(lambda: len(agent.held) == 25, "as many as the credit")
            wait_for(lambda: client.get_endpoint_status("bounded")["queued"] == 10_000 - 25, "the rest to be queued")
            for _ in range(20):
                agent.finish(10, VALUE)
                wait_for(lambda: len(agent.held) == 25, "the queue to move up")
            assert agent.most_held == 25
            agent.say(m.Heartbeat(0.0, 400))
            wait_for(lambda: len(agent.held) == 400, "more credit to be used")
            status = client.get_endpoint_status("bounded")
            assert (status["queued"], status["in_flight"]) == (10_000 - 600, 400)
        finally:
            agent.close()


def test_large_arguments_are_bounded_by_their_bytes_until_they_are_back() -> None:
    session = Session("e", "me", 0.0, peer=b"p", credit=1_000)
    tasks = [LiveTask(i, new_task_id(), "me", "g", b"s", "e", TaskState.SENT, 0.0, 0.0, 10_000_000) for i in range(30)]
    session.reserve(tasks[:20])
    assert session.room == 980
    session.unreserve(tasks[:20])
    for task in tasks:
        session.sent(task)
    assert session.room == 0, "300 MB are more than an agent is sent ahead"
    session.drop_connection()
    for task in tasks[:5]:
        assert session.back(task.id) is task
    assert session.room == 0, "not connected"
    session.peer = b"p"
    assert session.room == 975
    for task in tasks[5:]:
        session.back(task.id)
    assert session.bytes_there == 0


def test_a_batch_over_the_users_limit_is_asked_to_come_back_and_nothing_of_it_is_taken(programs: Programs) -> None:
    programs.start_service(limits=LimitsConfig(user_tasks=100))
    with programs.client() as client:
        agent = WireAgent(client, "sink", credit=1)
        try:
            submit(client, agent.endpoint_id, 90)
            with pytest.raises(ServiceBusyError, match="90 tasks of this user are not over") as caught:
                submit(client, agent.endpoint_id, 20)
            assert (caught.value.status, caught.value.retry_after_s) == (429, 1.0)
            token = (programs.home / "service" / "token").read_text()
            spec = encode_spec(m.Spec(function_hash(FUNCTION), agent.endpoint_id))
            items = tuple(m.Item(new_task_id(), spec_hash(spec), 0) for _ in range(11))
            answer = requests.post(f"{client.url}/v1/tasks", encode(m.Submit("g", {}, (), items)), headers={"Authorization": f"Bearer {token}"}, timeout=10)
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
            assert client.service_stats()["tasks_accepted"] == 90
            wait_for(lambda: agent.held, "the first to be sent")
            agent.finish(1, VALUE)
            wait_for(lambda: client.service_stats()["tasks_finished"] == 1, "it to be over")
            submit(client, agent.endpoint_id, 11)
            programs.kill("service")
            programs.start_service(limits=LimitsConfig(user_tasks=100))
            with programs.client() as again, pytest.raises(ServiceBusyError, match="100 tasks"):
                submit(again, agent.endpoint_id, 1)
        finally:
            agent.close()


def test_a_client_that_is_asked_to_wait_waits_holds_its_caller_back_and_loses_nothing(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr("fedproxy.dispatch.outbox._UNSENT_ITEMS", 50)
    programs.start_service(limits=LimitsConfig(user_tasks=60))
    with programs.client() as client:
        agent = WireAgent(client, "slow", credit=10)
        wait_for(lambda: client.get_endpoint_status("slow")["online"], "the agent to be there")
        executor = Executor("slow", client=client)
        futures: list[TaskFuture[int]] = []
        submitting = threading.Thread(target=lambda: [futures.append(executor.submit(len, "abc")) for _ in range(200)])
        submitting.start()
        try:
            wait_for(lambda: client.get_endpoint_status("slow")["queued"] >= 40, "the service to be full")
            wait_for(lambda: executor._connection._outbox._items >= 50, "the client to be full")
            assert submitting.is_alive(), "the caller is held back"
            assert len(futures) <= 60 + 50 + 1
            while submitting.is_alive() or not all(future.done() for future in futures):
                agent.finish(len(agent.held), VALUE)
                submitting.join(0.02)
            assert [future.result(20) for future in futures] == ["done"] * 200
            assert client.service_stats()["tasks_accepted"] == 200
        finally:
            agent.close()
            executor.shutdown(wait=False)


def test_bytes_under_way_are_bounded_for_each_and_for_all() -> None:
    admission = Admission(LimitsConfig(user_bytes=100, all_bytes=150), {})
    with admission.reading("a", 1000):  # alone, however large
        with pytest.raises(ServiceBusyError) as mine, admission.reading("a", 1):
            pass
        with pytest.raises(ServiceBusyError) as all_, admission.reading("b", 1):
            pass
    assert (mine.value.status, all_.value.status) == (429, 503)
    with admission.reading("a", 60), admission.reading("b", 60):
        with pytest.raises(ServiceBusyError), admission.reading("a", 50):
            pass
        with admission.reading("c", 30), pytest.raises(ServiceBusyError), admission.reading("d", 1):
            pass
    with admission.reading("d", 150):
        pass


def test_an_answer_of_somebody_between_is_understood_as_busy() -> None:
    from fedproxy.wire.rest import _error

    for status, body in ((429, b"<html>slow down</html>"), (503, json.dumps({"message": "later"}).encode())):
        error = _error(status, body)
        assert isinstance(error, ServiceBusyError)
        assert error.retry_after_s > 0
