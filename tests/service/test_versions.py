"""Peers of other versions, over the real wire: neighbours work, others are refused by name, and nobody else notices."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import VersionMismatchError
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import HEAD_SIZE, encode, encode_spec
from fedproxy.protocol.ids import function_hash, new_task_id, spec_hash
from fedproxy.protocol.versions import UNDERSTOOD, VERSION, mismatch, mismatch_of
from fedproxy.serialize import serialize
from tests.programs import Programs, wait_for
from tests.service.wire_agent import WireAgent

VALUE = bytes(serialize("done"))


def spoken_by(version: int):
    """What a peer of that version writes: its number, and fields that nobody here knows."""
    def doctor(data: bytes) -> bytes:
        import msgspec

        header = msgspec.msgpack.decode(data[HEAD_SIZE:])
        if isinstance(header, dict):
            header["of_another_time"] = [1, 2]
        encoded = msgspec.msgpack.encode(header)
        return bytes([version, data[1]]) + len(encoded).to_bytes(4, "little") + encoded
    return doctor


def knows(version: int) -> tuple[int, ...]:
    return (version - 1, version, version + 1)


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_an_endpoint_one_version_off_runs_tasks(running: Programs, version: int) -> None:
    with running.client() as client:
        agent = WireAgent(client, f"neighbour-{version}", credit=5, doctor=spoken_by(version), versions=knows(version))
        try:
            wait_for(lambda: client.get_endpoint_status(agent.endpoint_id)["online"], "it to be welcome")
            executor = Executor(agent.endpoint_id, client=client)
            future = executor.submit(len, "abc")
            wait_for(lambda: agent.held, "the task")
            agent.finish(1, VALUE)
            assert future.result(20) == "done"
            executor.shutdown()
        finally:
            agent.close()


@pytest.mark.parametrize(("version", "upgrade"), [(VERSION + 2, "upgrade the service"), (VERSION + 9, "upgrade the service")])
def test_an_endpoint_further_off_is_refused_by_name_and_all_others_go_on(running: Programs, version: int, upgrade: str) -> None:
    with running.client() as client:
        for odd in ({"doctor": spoken_by(version)}, {"versions": knows(version)}):
            agent = WireAgent(client, "from-the-future", credit=5, **odd)
            try:
                wait_for(lambda agent=agent: agent.refusals, "the refusal")
                assert "VersionMismatchError: endpoint 'from-the-future'" in agent.refusals[0]
                assert f"speaks protocol {version}" in agent.refusals[0]
                assert upgrade in agent.refusals[0]
                assert not client.get_endpoint_status("from-the-future")["online"]
            finally:
                agent.close()
        assert Executor("local", client=client).submit(len, "abc").result(20) == 3


def test_an_endpoint_of_an_old_version_is_refused_when_it_registers(client: Client) -> None:
    body = {"name": "ancient", "public_key": "k" * 40, "versions": [-9, -8, -7]}
    with pytest.raises(VersionMismatchError, match=r"endpoint 'ancient' speaks protocol -8.*upgrade endpoint 'ancient'"):
        client.rest.json("POST", "/v1/endpoints", body)
    assert "ancient" not in [entry["name"] for entry in client.get_endpoints()]


@pytest.mark.parametrize("version", [VERSION - 1, VERSION, VERSION + 1, VERSION + 2])
def test_a_client_of_another_version_is_served_or_told(client: Client, version: int) -> None:
    function = b"no function"
    spec = encode_spec(m.Spec(function_hash(function), client.get_endpoint_status("local")["id"]))
    submit = m.Submit("g", {spec_hash(spec): spec}, (m.Blob(function_hash(function), len(function)),), (m.Item(new_task_id(), spec_hash(spec), 1),))
    data = spoken_by(version)(encode(submit)) + function + b"x"
    if version in UNDERSTOOD:
        assert client.rest.binary("POST", "/v1/tasks", data) == b""
    else:
        with pytest.raises(VersionMismatchError, match=f"speaks protocol {version}"):
            client.rest.binary("POST", "/v1/tasks", data)


AGENT = """
import sys
import fedproxy.protocol.versions as versions
versions.VERSION = versions.VERSION + 2
versions.UNDERSTOOD = frozenset({versions.VERSION - 1, versions.VERSION, versions.VERSION + 1})
from fedproxy.config.endpoint import EndpointConfig
from fedproxy.endpoint.serve import run
run(EndpointConfig("newer", site=sys.argv[1]))
"""
CLIENT = """
import fedproxy.protocol.versions as versions
versions.VERSION = versions.VERSION + 2
versions.UNDERSTOOD = frozenset({versions.VERSION - 1, versions.VERSION, versions.VERSION + 1})
import fedproxy
fedproxy.submit(len, "abc", endpoint="local").result(20)
"""


@pytest.mark.parametrize(("code", "who"), [(AGENT, "endpoint 'newer'"), (CLIENT, "the service")])
def test_a_program_of_another_version_ends_with_what_to_upgrade(running: Programs, code: str, who: str) -> None:
    import os

    environment = {**os.environ, "FEDPROXY_HOME": str(running.home)}
    done = subprocess.run([sys.executable, "-c", code, running.site("newer")], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "VersionMismatchError" in done.stderr
    assert who in done.stderr
    assert "upgrade the service (pip install -U fedproxy)" in done.stderr


def test_another_minor_version_of_python_is_told_before_anything_is_sent(running: Programs) -> None:
    with running.client() as client:
        agent = WireAgent(client, "snake", credit=5, python="3.7.1")
        try:
            wait_for(lambda: client.get_endpoint_status("snake")["online"], "it to be welcome")
            executor = Executor("snake", client=client)
            accepted = client.service_stats()["tasks_accepted"]
            with pytest.raises(UserWarning, match=r"endpoint 'snake' runs Python 3\.7\.1, this client 3\.") as caught:
                executor.submit(len, "abc")  # warnings are errors here: it stands in the way
            assert "same minor version" in str(caught.value)
            assert client.service_stats()["tasks_accepted"] == accepted, "before dispatch"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                future = executor.submit(len, "abc")
            wait_for(lambda: agent.held, "the task: it is a warning only")
            agent.finish(1, VALUE)
            assert future.result(20) == "done"
            executor.shutdown()
        finally:
            agent.close()


@pytest.mark.parametrize(("spoken", "upgrade"), [
    (VERSION, None), (VERSION + 1, None), (VERSION - 1, None), (VERSION + 2, "this side"), (VERSION - 2, "the peer"),
])
def test_who_is_to_upgrade(spoken: int, upgrade: str | None) -> None:
    for said in (mismatch("the peer", spoken), mismatch_of("the peer", knows(spoken))):
        assert (said is None) == (upgrade is None)
        assert said is None or f"upgrade {upgrade} (" in said
    assert mismatch_of("the peer", ()) is None
