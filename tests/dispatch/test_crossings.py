"""What crosses on the way: two futures of one task, an ending that two threads bring, an end of the executor in the middle of a submit."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fedproxy.dispatch.calls import Call, Kind
from fedproxy.dispatch.client import Client
from fedproxy.dispatch.endings import end_alike, settle
from fedproxy.dispatch.executor import Executor
from fedproxy.dispatch.functions import serialize_function
from fedproxy.dispatch.future import TaskFuture
from fedproxy.dispatch.outbox import apart
from fedproxy.errors import AuthenticationError, StoreFullError, UnknownTaskError
from fedproxy.protocol.ids import new_task_id
from fedproxy.protocol.messages import Done, Item
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import serialize
from tests.dispatch.gate import wait_at
from tests.programs import Programs, wait_for


def same_id(one: TaskFuture[Any], other: TaskFuture[Any]) -> None:
    wait_for(lambda: one.task_id == other.task_id, "the second submit to be told of the first")


# ---------------------------------------------------------------- two futures of one task


def test_a_key_that_is_submitted_again_while_its_task_runs_ends_both_futures(executor: Executor, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    heard: list[str] = []
    first = executor.submit_once("twice", wait_at, str(gate), word="open")
    again = [executor.submit_once("twice", wait_at, str(gate), word="open") for _ in range(3)]
    for future in again:
        future.add_done_callback(lambda f: heard.append(f.result()))
        same_id(first, future)
    gate.touch()
    assert [future.result(20) for future in (first, *again)] == ["open"] * 4
    assert all(future.done_info == first.done_info for future in again)
    executor.shutdown()
    assert heard == ["open"] * 3


def test_a_key_that_was_cancelled_is_cancelled_for_all_who_submitted_it(executor: Executor, tmp_path: Path) -> None:
    first = executor.submit_once("thrice", wait_at, str(tmp_path / "never"))
    again = executor.submit_once("thrice", wait_at, str(tmp_path / "never"))
    same_id(first, again)
    assert again.cancel()
    wait_for(first.cancelled, "the first to be cancelled")


def test_a_key_of_another_group_does_not_hold_up_the_end(executor: Executor, client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = executor.submit_once("elsewhere", wait_at, str(gate), word="open")
    with Executor("local", client=client) as other:
        heard: list[str] = []
        again = other.submit_once("elsewhere", wait_at, str(gate), word="open")
        again.add_done_callback(lambda f: heard.append(f.result()))
        same_id(first, again)
        gate.touch()
        assert again.result(20) == "open"
        began = time.monotonic()
    assert time.monotonic() - began < 3.0, "the end waited for the next sign of life"
    assert heard == ["open"]


def test_reloading_a_group_gives_the_futures_that_wait_and_forgets_none(executor: Executor, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    futures = [executor.submit(wait_at, str(gate), word=str(i)) for i in range(4)]
    executor.flush()
    assert executor.reload_tasks() == futures
    assert executor.reload_tasks(only={futures[2].task_id}) == futures[2:3]
    gate.touch()
    assert [future.result(20) for future in futures] == list("0123")


def test_the_end_waits_for_what_was_submitted_before_a_group_was_reloaded(running: Programs, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    heard: list[str] = []
    with running.client() as client, Executor("local", client=client) as executor:
        executor.submit(wait_at, str(gate), word="open").add_done_callback(lambda future: heard.append(future.result()))
        assert executor.reload_tasks("nothing is in it") == []
        threading.Timer(0.3, gate.touch).start()
    assert heard == ["open"]


def test_a_batch_names_no_key_twice() -> None:
    kind = Kind(b"k", b"", serialize_function(len), "local", "e")

    def call(key: str | None) -> Call:
        task_id = new_task_id()
        return Call(Item(task_id, b"k", 0, 0.0, key), kind, [], TaskFuture(task_id, "", lambda *_: None))

    calls = [call(key) for key in (None, "a", "b", None, "a", "b", "a", None)]
    assert apart(calls) == [calls[:4], calls[4:6], calls[6:]]
    assert apart([]) == []


# ---------------------------------------------------------------- who ends a future

_MEET: list[threading.Barrier] = []


class Slow:
    """Its reading takes until another thread reads it, too."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _meet, ()


def _meet() -> str:
    _MEET[0].wait(10)
    return "value"


def test_an_ending_that_two_threads_bring_is_taken_once() -> None:
    for _ in range(50):
        _MEET[:] = [threading.Barrier(2)]
        future: TaskFuture[str] = TaskFuture(new_task_id(), "f", lambda *_: None)
        calls: list[object] = []
        future.add_done_callback(calls.append)
        body = bytes(serialize(Slow()))
        done = Done(future.raw_id, int(TaskState.SUCCEEDED), len(body))
        raised: list[BaseException] = []

        def bring(future: TaskFuture[str] = future, done: Done = done, body: bytes = body, raised: list[BaseException] = raised) -> None:
            try:
                settle(future, done, body)
            except BaseException as exc:
                raised.append(exc)

        threads = [threading.Thread(target=bring) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert raised == []
        assert future.result(0) == "value"
        assert calls == [future]


def test_whoever_is_interrupted_leaves_the_ending_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    future: TaskFuture[int] = TaskFuture(new_task_id(), "f", lambda *_: None)
    body = bytes(serialize(7))
    done = Done(future.raw_id, int(TaskState.SUCCEEDED), len(body))

    def interrupted(_value: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedproxy.dispatch.endings.own_result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        settle(future, done, body)
    monkeypatch.undo()
    settle(future, done, body)
    assert future.result(0) == 7


def test_a_follower_ends_as_the_first_does() -> None:
    for end in ("value", "error", "cancelled"):
        first, follower = (TaskFuture[int](new_task_id(), "f", lambda *_: None) for _ in range(2))
        if end == "value":
            first.set_result(3)
        elif end == "error":
            first.set_exception(ZeroDivisionError())
        else:
            first.cancel_here()
        end_alike(follower, first)
        end_alike(follower, first)
        assert follower.done()
        assert follower.cancelled() == first.cancelled()
        if end != "cancelled":
            assert Future.exception(follower) is Future.exception(first)


# ---------------------------------------------------------------- an end in the middle


def with_uploads(monkeypatch: pytest.MonkeyPatch, executor: Executor, uploads: list[Future[None]]) -> TaskFuture[int]:
    """A call whose data is on its way."""
    monkeypatch.setattr("fedproxy.dispatch.executor.uploads_of", lambda _refs: uploads)
    future = executor.submit(abs, -5)
    monkeypatch.undo()
    return future


def test_data_that_arrives_after_the_shutdown_is_not_too_late(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    executor.submit(abs, -1).result(20)
    upload: Future[None] = Future()
    future = with_uploads(monkeypatch, executor, [upload])
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        executor.submit(abs, -1)
    upload.set_result(None)
    assert future.result(20) == 5
    executor._connection.join()
    assert not [thread for thread in executor._connection._threads if thread.is_alive()]


def test_a_call_of_which_one_upload_failed_is_not_sent(executor: Executor, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: list[Future[None]] = [Future() for _ in range(4)]
    future = with_uploads(monkeypatch, executor, uploads)
    uploads[0].set_result(None)
    uploads[1].set_exception(StoreFullError("no room"))
    uploads[2].set_exception(StoreFullError("no room"))
    uploads[3].set_result(None)
    with pytest.raises(StoreFullError):
        future.result(20)
    executor.flush()
    with pytest.raises(UnknownTaskError):
        client.get_task(future.task_id)
    assert executor._connection._uploading == 0
    assert executor.submit(abs, -2).result(20) == 2


def test_what_a_shutdown_lets_in_ends_and_all_else_is_refused(running: Programs) -> None:
    with running.client() as client:
        for _ in range(15):
            executor = Executor("local", client=client)
            executor.submit(abs, 1).result(20)
            taken: list[TaskFuture[int]] = []
            go = threading.Barrier(5)

            def submit(executor: Executor = executor, taken: list[TaskFuture[int]] = taken, go: threading.Barrier = go) -> None:
                go.wait()
                try:
                    while True:
                        taken.append(executor.submit(abs, -3))
                except RuntimeError:
                    return

            threads = [threading.Thread(target=submit) for _ in range(4)]
            for thread in threads:
                thread.start()
            go.wait()
            wait_for(lambda taken=taken: len(taken) > 20, "submits")
            executor.shutdown(wait=False)
            for thread in threads:
                thread.join(20)
                assert not thread.is_alive()
            assert [future.result(30) for future in taken] == [3] * len(taken)
            executor._connection.join()
            assert not [thread for thread in executor._connection._threads if thread.is_alive()]


def test_a_stream_that_was_refused_once_is_opened_again_for_the_next_call(running: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    with running.client() as client, Executor("local", client=client) as executor:
        plain = client.rest.stream

        def refused(path: str, *, silence_s: float) -> Any:
            monkeypatch.setattr(client.rest, "stream", plain)
            raise AuthenticationError("not now")

        monkeypatch.setattr(client.rest, "stream", refused)
        with pytest.raises(AuthenticationError, match="not now"):
            executor.submit(abs, -1).result(20)
        wait_for(lambda: not executor._connection._receiving, "the receiving thread to end")
        future = executor.submit(abs, -2)
        future.add_done_callback(lambda _: None)
        assert future.result(20) == 2
        assert executor.submit(abs, -3).result(20) == 3
