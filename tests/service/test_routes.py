"""The REST interface as anybody may call it: over real HTTP, with and without a token, with good and bad bodies."""

from __future__ import annotations

import time

import pytest
import requests

from fedproxy import errors
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import decode, encode, encode_spec
from fedproxy.protocol.ids import function_hash, new_task_id, new_uuid, spec_hash, task_id_text
from fedproxy.wire.rest import RestClient
from tests.programs import Programs


@pytest.fixture(scope="module")
def rest(running: Programs):
    with running.client() as client:
        yield client.rest


def batch(rest: RestClient, count: int = 1, payload: bytes = b"x", *, task_id: bytes | None = None, key: str | None = None,
          endpoint: str | None = None) -> bytes:
    endpoint = endpoint or rest.json("GET", "/v1/endpoints/local")["id"]
    body = b"not a function"
    spec = encode_spec(m.Spec(function_hash(body), endpoint))
    items = tuple(m.Item(task_id or new_task_id(), spec_hash(spec), len(payload), key=key) for _ in range(count))
    submit = m.Submit(new_uuid(), {spec_hash(spec): spec}, (m.Blob(function_hash(body), len(body)),), items)
    return encode(submit) + body + payload * count


def send(rest: RestClient, data: bytes) -> m.SubmitAck:
    answer = rest.line("/v1/tasks").post([data])
    if not answer:
        return m.SubmitAck()
    message, _ = decode(answer)
    assert isinstance(message, m.SubmitAck)
    return message


NOBODYS = "00000000-0000-4000-8000-000000000000"
"""A task id that no task has. Fixed: parallel test runs must collect the same names."""
ROUTES = [("GET", "/v1/whoami"), ("GET", "/v1/stats"), ("GET", "/v1/endpoints"), ("POST", "/v1/endpoints"), ("GET", "/v1/endpoints/local"),
          ("DELETE", "/v1/endpoints/local"), ("POST", "/v1/tasks"), ("POST", "/v1/tasks/cancel"), ("GET", f"/v1/tasks/{NOBODYS}"),
          ("GET", f"/v1/tasks/{NOBODYS}/result"), ("GET", "/v1/groups/g"), ("GET", "/v1/groups/g/results"), ("POST", "/v1/groups/g/close")]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer "}])
def test_no_route_answers_without_a_good_token(rest: RestClient, method: str, path: str, headers: dict[str, str]) -> None:
    answer = requests.request(method, rest.url + path, headers=headers, timeout=10)
    assert answer.status_code == 401
    assert answer.json()["error"] == "AuthenticationError"


def test_health_needs_no_token_and_tells_nothing(rest: RestClient) -> None:
    answer = requests.get(rest.url + "/v1/health", timeout=10)
    said = answer.json()
    assert said.pop("now") > 0  # a clock, for agents to see how far theirs is off
    assert said == {"status": "ok", "protocol": [0, 1, 2]}


@pytest.mark.parametrize("data", [b"", b"\x01", b"garbage" * 100, b"\x01\x01\xff\xff\xff\xff", encode(m.Reset())])
def test_a_body_that_is_no_batch_is_a_400(rest: RestClient, data: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        rest.line("/v1/tasks").post([data])


def test_a_body_cut_short_is_a_400_and_nothing_is_accepted(rest: RestClient) -> None:
    before = rest.json("GET", "/v1/stats")["tasks_accepted"]
    with pytest.raises(errors.ProtocolError, match="does not fit"):
        rest.line("/v1/tasks").post([batch(rest, 3, b"payload")[:-1]])
    assert rest.json("GET", "/v1/stats")["tasks_accepted"] == before


def test_a_function_must_match_its_hash(rest: RestClient) -> None:
    data = batch(rest)
    with pytest.raises(errors.ProtocolError, match="hash"):
        rest.line("/v1/tasks").post([data.replace(b"not a function", b"another functi")])


def test_unknown_specs_are_named_and_nothing_is_accepted(rest: RestClient) -> None:
    submit = m.Submit("g", {}, (), (m.Item(new_task_id(), b"s" * 16, 0),))
    assert send(rest, encode(submit)).unknown == (b"s" * 16,)


def test_items_are_refused_one_by_one(rest: RestClient) -> None:
    ack = send(rest, batch(rest, endpoint=new_uuid()))
    assert [r.error for r in ack.rejected] == ["UnknownEndpointError"]
    limit = rest.json("GET", "/v1/whoami")["payload_limit_bytes"]
    ack = send(rest, batch(rest, payload=b"x" * (limit + 1)))
    assert [r.error for r in ack.rejected] == ["PayloadTooLargeError"]
    ack = send(rest, batch(rest, task_id=b"short"))
    assert [r.error for r in ack.rejected] == ["ProtocolError"]


def test_submitting_twice_makes_one_task(rest: RestClient) -> None:
    task_id = new_task_id()
    data = batch(rest, task_id=task_id)
    assert send(rest, data).same_as == {}
    again = send(rest, data)
    assert again.same_as == {task_id: task_id}
    other = send(rest, batch(rest, payload=b"y", task_id=task_id))
    assert [r.error for r in other.rejected] == ["ConflictError"]


def test_the_same_id_twice_in_a_batch_is_a_400(rest: RestClient) -> None:
    with pytest.raises(errors.ProtocolError, match="twice"):
        rest.line("/v1/tasks").post([batch(rest, 2, task_id=new_task_id())])


def test_a_body_over_the_limit_is_refused_before_it_is_read(rest: RestClient) -> None:
    with pytest.raises(errors.PayloadTooLargeError):
        rest.json("POST", "/v1/tasks/cancel", ["x" * 70_000_000])


@pytest.mark.parametrize("body", ["nonsense", [1], ["not-an-id"], {"a": 1}])
def test_a_cancel_that_makes_no_sense_is_a_400(rest: RestClient, body: object) -> None:
    with pytest.raises(errors.ProtocolError):
        rest.json("POST", "/v1/tasks/cancel", body)


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x", "public_key": "short"}, [], {"name": "x" * 200, "public_key": "k" * 40}])
def test_a_registration_that_makes_no_sense_is_a_400(rest: RestClient, body: object) -> None:
    with pytest.raises(errors.ProtocolError):
        rest.json("POST", "/v1/endpoints", body)


def test_an_endpoint_that_is_online_cannot_be_deleted(rest: RestClient) -> None:
    with pytest.raises(errors.EndpointInUseError, match="online"):
        rest.json("DELETE", "/v1/endpoints/local")


def test_another_user_sees_nothing_and_reaches_nothing(programs: Programs) -> None:
    """Two tokens, two users: ids and names of one mean nothing to the other."""
    import sqlite3

    from fedproxy.service.accounts import _digest

    programs.start_service()
    programs.start_endpoint("mine", 1)
    with sqlite3.connect(programs.home / "service" / "service.db") as database:
        database.execute("INSERT INTO tokens VALUES (?, ?, ?)", (_digest("other-token"), "other", time.time()))
    database.close()
    programs.kill("service")
    programs.start_service()
    with programs.client() as client:
        mine, other = client.rest, RestClient(client.url, "other-token")
        task_id = new_task_id()
        submitted = batch(mine, task_id=task_id, key="shared-key", endpoint=mine.json("GET", "/v1/endpoints/mine")["id"])
        send(mine, submitted)
        text = task_id_text(task_id)
        assert other.json("GET", "/v1/endpoints") == []
        for call in (lambda: other.json("GET", "/v1/endpoints/mine"), lambda: other.json("DELETE", "/v1/endpoints/mine"),
                     lambda: other.json("GET", f"/v1/tasks/{text}"), lambda: other.binary("GET", f"/v1/tasks/{text}/result"),
                     lambda: other.binary("GET", f"/v1/tasks/{text}/logs"), lambda: other.json("GET", f"/v1/tasks/{text}/explain"),
                     lambda: other.binary("GET", f"/v1/functions/{client.register_function(abs)}")):
            with pytest.raises(errors.NotFoundError):
                call()
        other.json("POST", "/v1/tasks/cancel", [text])
        assert mine.json("GET", f"/v1/tasks/{text}")["state"] != "CANCELLED"
        assert other.json("GET", f"/v1/groups/{mine.json('GET', f'/v1/tasks/{text}')['task_group_id']}") == []
        assert other.json("GET", f"/v1/groups/{mine.json('GET', f'/v1/tasks/{text}')['task_group_id']}/account") == []
        rejected = send(other, batch(mine, endpoint=mine.json("GET", "/v1/endpoints/mine")["id"])).rejected
        assert [r.error for r in rejected] == ["UnknownEndpointError"]
        other.close()


def test_tokens_and_keys_stay_private(running: Programs) -> None:
    folder = running.home / "service"
    token = (folder / "token").read_text()
    assert {p.name: oct(p.stat().st_mode & 0o777) for p in folder.iterdir() if p.stat().st_mode & 0o077} == {}
    assert token not in running.log("service")
    assert token not in running.log("local")
    for pid in (running.running["service"].pid, running.running["local"].pid, *running.workers()):
        with open(f"/proc/{pid}/cmdline") as file:
            assert token not in file.read()
