"""An endpoint that runs listed functions only: a worker refuses the others even if its agent does not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from fedproxy.config.endpoint import ANY_FUNCTION
from fedproxy.endpoint.allowed import VARIABLE, AllowList
from fedproxy.endpoint.catalog import AgentCatalog
from fedproxy.endpoint.pipe import WorkerPipe
from fedproxy.errors import ConfigError, FunctionNotAllowedError
from fedproxy.protocol import messages as m
from fedproxy.protocol import worker_messages as w
from fedproxy.protocol.codec import decode, encode, encode_spec
from fedproxy.protocol.ids import function_hash, spec_hash
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import deserialize, deserialize_exception, serialize

SUM, LEN = (b"".join(serialize(function).parts) for function in (sum, len))


def test_what_is_listed_is_permitted_and_survives_the_environment() -> None:
    listed = AllowList.of([function_hash(SUM).hex()])
    for each in (listed, AllowList.of_environment({VARIABLE: listed.as_variable()})):
        assert each.permits(function_hash(SUM))
        assert not each.permits(function_hash(LEN))
    nothing = AllowList.of_environment({VARIABLE: AllowList.of([]).as_variable()})
    assert not nothing.permits(function_hash(SUM))
    for anything in (AllowList.of([ANY_FUNCTION]), AllowList.of_environment({})):
        assert anything.permits(function_hash(LEN))


@pytest.mark.parametrize("wrong", ["sum", "ab", "zz" * 32])
def test_what_is_no_function_id_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="no function id"):
        AllowList.of([wrong])


def test_a_body_under_a_false_name_is_not_learnt() -> None:
    catalog = AgentCatalog()
    spec = encode_spec(m.Spec(function_hash(SUM), "endpoint"))
    catalog.learn_spec(spec_hash(spec), spec)
    catalog.learn_function(function_hash(SUM), LEN)
    assert not catalog.ready(spec_hash(spec))
    catalog.learn_function(function_hash(SUM), SUM)
    assert catalog.ready(spec_hash(spec))


def answers(calls: list[tuple[bytes, bytes]], allowed: AllowList) -> list[tuple[m.Outcome, bytes]]:
    """What a real worker answers to (name, body) pairs, each called with [1, 2]."""
    ours, theirs = socket.socketpair()
    environment = {**os.environ, VARIABLE: allowed.as_variable()}
    command = [sys.executable, "-m", "fedproxy.endpoint.worker", str(theirs.fileno()), str(os.getpid())]
    payload = b"".join(serialize((([1, 2],), {})).parts)
    found = []
    with subprocess.Popen(command, env=environment, pass_fds=(theirs.fileno(),)) as worker, ours:
        theirs.close()
        pipe = WorkerPipe(ours)
        frames = pipe.frames()
        assert isinstance(decode(next(frames))[0], w.Ready)
        for name, body in calls:
            spec = encode_spec(m.Spec(name, "endpoint", "called"))
            pipe.send([encode(m.Catalog({spec_hash(spec): spec}, (m.Blob(name, len(body)),))), body])
            pipe.send([encode(w.Run((m.Task(bytes(16), spec_hash(spec), 0, len(payload)),))), payload])
            message, rest = decode(next(frames))
            assert isinstance(message, m.Results)
            found.append((message.items[0], bytes(rest)))
        worker.kill()
    return found


def test_a_worker_runs_what_is_listed_and_nothing_under_its_name() -> None:
    allowed = AllowList.of([function_hash(SUM).hex()])
    unlisted, disguised, listed = answers([(function_hash(LEN), LEN), (function_hash(SUM), LEN), (function_hash(SUM), SUM)], allowed)
    for outcome, body in (unlisted, disguised):
        assert outcome.state == TaskState.FAILED
        error = deserialize_exception(body)
        assert isinstance(error, FunctionNotAllowedError)
        assert "allowed_functions" in str(error)
    assert listed[0].state == TaskState.SUCCEEDED
    assert deserialize(listed[1]) == 3
