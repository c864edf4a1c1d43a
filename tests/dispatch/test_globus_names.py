"""Names that users of Globus Compute know."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import fedproxy
from fedproxy.dispatch.client import Client, TaskPendingError
from fedproxy.dispatch.executor import Executor
from tests.programs import wait_for


def add(a: int, b: int = 1) -> int:
    return a + b


def test_register_run_and_get_result(client: Client) -> None:
    function_id = client.register_function(add)
    task_id = client.run(1, endpoint_id="local", function_id=function_id, b=4)
    assert client.get_result(task_id, timeout_s=20) == 5
    assert client.get_task(task_id)["state"] == "SUCCEEDED"


def test_a_batch_is_submitted_together(client: Client) -> None:
    function_id = client.register_function(add)
    batch = client.create_batch()
    for i in range(100):
        batch.add(function_id, (i,), {"b": 10})
    assert len(batch) == 100
    (ids,) = client.batch_run("local", batch).values()
    assert [client.get_result(task_id, timeout_s=20) for task_id in ids] == [i + 10 for i in range(100)]
    answers = client.get_batch_result(ids[:2])
    assert [a["result"] for a in answers.values()] == [10, 11]


def test_a_batch_result_tells_of_exceptions_and_of_what_is_not_over(client: Client, executor: Executor) -> None:
    bad, slow = executor.submit(add, "x", 1), executor.submit(time.sleep, 1.0)
    assert isinstance(bad.exception(20), TypeError)
    wait_for(lambda: slow.status() != "PENDING", "the task to be accepted")
    answers = client.get_batch_result([bad.task_id, slow.task_id])
    assert isinstance(answers[bad.task_id]["exception"], TypeError)
    assert "result" not in answers[slow.task_id]
    with pytest.raises(TaskPendingError):
        client.get_result(slow.task_id)


def test_an_unregistered_function_is_a_key_error(executor: Executor) -> None:
    with pytest.raises(KeyError):
        executor.submit_to_registered_function("00" * 32)
    function_id = executor.client.register_function(add)
    assert executor.submit_to_registered_function(function_id, (1,), {"b": 2}).result(20) == 3


def test_a_shell_command_is_a_function(executor: Executor) -> None:
    result = executor.submit(fedproxy.ShellFunction("echo {word}; echo oops >&2; exit 3"), word="hello").result(20)
    assert (result.returncode, result.stdout, result.stderr) == (3, "hello\n", "oops\n")


def test_walltime_kills_a_shell_command_and_what_it_started(executor: Executor) -> None:
    started = time.monotonic()
    result = executor.submit(fedproxy.ShellFunction("echo begun; sleep 60 & wait", walltime=0.3)).result(20)
    assert time.monotonic() - started < 5
    assert (result.returncode, result.stdout) == (124, "begun\n")
    with pytest.raises(ValueError, match="walltime"):
        fedproxy.ShellFunction("true", walltime=0)


def test_a_cancelled_shell_command_leaves_nothing_behind(executor: Executor, tmp_path: Path) -> None:
    command = "echo $$ > {folder}/$$; (setsid sh -c 'echo $$ > {folder}/$$; exec sleep 600' &); sleep 600"
    future = executor.submit(fedproxy.ShellFunction(command), folder=str(tmp_path))
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2, "both processes")
    assert future.cancel()
    wait_for(lambda: not [p for p in tmp_path.iterdir() if os.path.exists(f"/proc/{p.name}/exe")], "them to be gone")


def test_the_endpoint_may_change_between_submits(executor: Executor) -> None:
    assert executor.submit(add, 1).result(20) == 2
    executor.endpoint_id = executor.client.get_endpoint_status("local")["id"]
    assert executor.submit(add, 2).result(20) == 3
    executor.endpoint_id = None
    with pytest.raises(fedproxy.FedproxyError, match="endpoint"):
        executor.submit(add, 3)
