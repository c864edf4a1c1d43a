"""Names that users of Globus Compute know."""

from __future__ import annotations

import concurrent.futures
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fedproxy
from fedproxy.dispatch.calls import Call, encode_batch
from fedproxy.dispatch.client import Client, TaskPendingError
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import ConfigError, UnknownEndpointError, UnknownFunctionError
from fedproxy.protocol.codec import Buffer
from tests.programs import Programs, wait_for


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


def test_a_registered_function_is_run_by_another_client(client: Client, running: Programs) -> None:
    factor = 3
    function_id = client.register_function(lambda x: x * factor)
    assert client.register_function(add) == client.register_function(add)
    with running.client() as other:
        assert other.get_result(other.run(14, endpoint_id="local", function_id=function_id), timeout_s=20) == 42
        with pytest.raises(UnknownFunctionError, match="no function 'nonsense'"):
            other.function("nonsense")


def test_a_batch_size_bounds_requests(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(batch: list[Call], group: str, **options: bool) -> list[Buffer]:
        sizes.append(len(batch))
        return encode_batch(batch, group, **options)

    monkeypatch.setattr("fedproxy.dispatch.outbox.encode_batch", counted)
    with Executor("local", client=client, batch_size=7) as executor:
        assert [f.result(20) for f in [executor.submit(abs, -i) for i in range(200)]] == list(range(200))
    assert max(sizes) <= 7
    for wrong in (0, "many", True, 10**9):
        with pytest.raises(ConfigError, match="batch_size"):
            Executor("local", client=client, batch_size=wrong)  # type: ignore[arg-type]


def test_an_executor_says_what_it_was_told(client: Client) -> None:
    with Executor(endpoint_id="local", client=client, task_group_id="8d0e7b5c-mine", label="mine", resource_specification={"cores": 1},
                  user_endpoint_config={"account": "x"}, batch_size=10) as executor:
        assert (executor.endpoint_id, executor.task_group_id, executor.label, executor.batch_size) == ("local", "8d0e7b5c-mine", "mine", 10)
        assert executor.resource_specification == {"cores": 1}
        assert executor.user_endpoint_config == {"account": "x"}


def test_endpoint_status_tells_what_is_there(client: Client) -> None:
    status = client.get_endpoint_status("local")
    assert status["online"] is True
    assert status["profile"]["capacity"]["cores"] >= 1
    assert client.get_endpoint_status(status["id"])["name"] == "local"
    with pytest.raises(UnknownEndpointError):
        client.get_endpoint_status("nowhere")


def test_shutdown_twice_and_with_cancelled_futures(client: Client) -> None:
    executor = Executor("local", client=client)
    futures = [executor.submit(time.sleep, 600) for _ in range(5)]
    executor.shutdown(wait=True, cancel_futures=True)
    executor.shutdown()
    assert all(f.cancelled() for f in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, 1)


def test_futures_of_fedproxy_and_others_are_waited_for_together(executor: Executor) -> None:
    with ThreadPoolExecutor(1) as pool:
        futures = [executor.submit(abs, -1), pool.submit(abs, -2)]
        done, _ = concurrent.futures.wait(futures, 20, concurrent.futures.ALL_COMPLETED)
    assert {f.result() for f in done} == {1, 2}
    assert all(isinstance(f, concurrent.futures.Future) for f in futures)


def test_a_failure_is_an_exception_and_never_a_cancellation(executor: Executor) -> None:
    future = executor.submit(add, "x", 1)
    assert isinstance(future.exception(20), TypeError)
    assert not future.cancelled()
    with pytest.raises(TypeError):
        future.result()
    with pytest.raises(TypeError):
        future.result()


def test_a_task_knows_its_id(executor: Executor) -> None:
    future = executor.submit(os.getenv, "FEDPROXY_TASK_UUID")
    assert future.result(20) == future.task_id


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
