"""What a user of `concurrent.futures` expects: the same tests against the executors of the standard library and ours."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import ConfigError, UnknownEndpointError
from tests.dispatch.gate import heard, wait_at
from tests.programs import Programs, wait_for

WAIT_S = 30


def add(a: int, b: int) -> int:
    return a + b


def fail() -> None:
    raise KeyError("why")


@pytest.fixture(params=["threads", "fedproxy"])
def pool(request: pytest.FixtureRequest, running: Programs) -> Iterator[concurrent.futures.Executor]:
    if request.param == "threads":
        with concurrent.futures.ThreadPoolExecutor(2) as made:
            yield made
        return
    with running.client() as client:
        made = Executor("local", client=client)
        yield made
        made.shutdown(wait=False)


def test_a_keyword_or_argument_that_the_function_does_not_take_is_its_type_error(pool: concurrent.futures.Executor) -> None:
    for future in (pool.submit(add, 1, c=2), pool.submit(add, 1), pool.submit(add, 1, 2, 3), pool.submit(add, 1, "2")):
        with pytest.raises(TypeError):
            future.result(WAIT_S)
    with pytest.raises(TypeError):
        pool.submit()  # type: ignore[call-arg]


def test_keywords_named_as_ours_are_the_functions(pool: concurrent.futures.Executor) -> None:
    def take(**given: Any) -> dict[str, Any]:
        return given

    given = {"fn": 1, "self": 2, "key": 3, "options": 4, "endpoint": 5, "priority": 6}
    assert pool.submit(take, **given).result(WAIT_S) == given


def test_a_result_may_be_fetched_again_and_again_and_is_the_same_object(pool: concurrent.futures.Executor) -> None:
    future = pool.submit(list, "abc")
    first = future.result(WAIT_S)
    assert first == ["a", "b", "c"]
    assert all(future.result() is first for _ in range(3))
    assert future.exception() is None
    bad = pool.submit(fail)
    with pytest.raises(KeyError, match="why"):
        bad.result(WAIT_S)
    assert bad.exception() is bad.exception()
    with pytest.raises(KeyError, match="why"):
        bad.result()


def test_a_done_future_is_not_cancelled_and_calls_back_at_once(pool: concurrent.futures.Executor) -> None:
    future = pool.submit(add, 1, 2)
    concurrent.futures.wait([future], WAIT_S)
    assert (future.done(), future.cancel(), future.cancelled(), future.running()) == (True, False, False, False)
    heard_of: list[Any] = []
    future.add_done_callback(heard_of.append)
    assert heard_of == [future]


def test_a_callback_that_raises_spoils_nothing(pool: concurrent.futures.Executor, caplog: pytest.LogCaptureFixture) -> None:
    future = pool.submit(time.sleep, 0.1)
    called = threading.Event()
    future.add_done_callback(lambda _: 1 // 0)
    future.add_done_callback(lambda _: called.set())
    assert called.wait(WAIT_S)
    assert pool.submit(add, 1, 1).result(WAIT_S) == 2


def test_waiting_too_short_is_a_timeout_and_changes_nothing(pool: concurrent.futures.Executor, tmp_path: Path) -> None:
    future = pool.submit(wait_at, str(tmp_path / "gate"), "", "through")
    for ask in (future.result, future.exception):
        with pytest.raises(TimeoutError):
            ask(0.01)
    assert concurrent.futures.wait([future], 0.01).not_done == {future}
    with pytest.raises(TimeoutError):
        next(concurrent.futures.as_completed([future], 0.01))
    (tmp_path / "gate").touch()
    assert future.result(WAIT_S) == "through"


def test_shutting_down_twice_is_once_and_afterwards_nothing_is_taken(pool: concurrent.futures.Executor) -> None:
    future = pool.submit(time.sleep, 0.1)
    pool.shutdown(wait=False)
    pool.shutdown()
    pool.shutdown(wait=True, cancel_futures=True)
    assert future.result(WAIT_S) is None
    for submit in (lambda: pool.submit(add, 1, 1), lambda: pool.map(add, [1], [1])):
        with pytest.raises(RuntimeError, match="after shutdown"):
            submit()


def test_leaving_the_block_waits_and_without_waiting_results_come_all_the_same(pool: concurrent.futures.Executor) -> None:
    with pool:
        futures = [pool.submit(add, i, i) for i in range(20)]
    assert all(future.done() for future in futures)


def test_futures_of_a_pool_that_was_shut_without_waiting_end(pool: concurrent.futures.Executor, tmp_path: Path) -> None:
    futures = [pool.submit(wait_at, str(tmp_path / "gate"), "", str(i)) for i in range(3)]
    pool.shutdown(wait=False)
    (tmp_path / "gate").touch()
    assert [future.result(WAIT_S) for future in futures] == ["0", "1", "2"]


def test_cancelling_what_waits_leaves_the_rest(pool: concurrent.futures.Executor, tmp_path: Path) -> None:
    gate, said = tmp_path / "gate", tmp_path / "said"
    running = [pool.submit(wait_at, str(gate), str(said), str(i)) for i in range(2)]
    wait_for(lambda: len(heard(said)) == 2, "both workers to be busy")
    waiting = [pool.submit(wait_at, str(gate), str(said), str(i)) for i in range(2, 6)]
    assert waiting[1].cancel()
    assert waiting[1].cancel(), "again: it still is"
    assert waiting[1].cancelled()
    assert waiting[1].done()
    for ask in (waiting[1].result, waiting[1].exception):
        with pytest.raises(concurrent.futures.CancelledError):
            ask(WAIT_S)
    gate.touch()
    assert [future.result(WAIT_S) for future in (*running, *waiting[:1], *waiting[2:])] == ["0", "1", "2", "4", "5"]
    assert sorted(heard(said)) == ["0", "1", "2", "4", "5"]


def test_shutdown_may_cancel_what_waits(pool: concurrent.futures.Executor, tmp_path: Path) -> None:
    gate, said = tmp_path / "gate", tmp_path / "said"
    futures = [pool.submit(wait_at, str(gate), str(said), str(i)) for i in range(6)]
    wait_for(lambda: len(heard(said)) == 2, "both workers to be busy")
    closing = threading.Thread(target=pool.shutdown, kwargs={"cancel_futures": True})
    closing.start()
    wait_for(lambda: all(future.cancelled() for future in futures[2:]), "those that waited to be cancelled")
    gate.touch()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    assert all(future.done() for future in futures)
    assert len(heard(said)) == 2


def test_cancels_racing_with_ends_leave_each_future_with_one_ending(pool: concurrent.futures.Executor) -> None:
    endings: list[tuple[int, bool]] = []
    lock = threading.Lock()

    def ended(number: int, future: concurrent.futures.Future[Any]) -> None:
        with lock:
            endings.append((number, future.cancelled()))

    futures = [pool.submit(add, i, 1) for i in range(60)]
    for number, future in enumerate(futures):
        future.add_done_callback(lambda done, number=number: ended(number, done))
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        said = list(threads.map(lambda future: (future, future.cancel()), futures[::2] + futures[::3]))
    concurrent.futures.wait(futures, WAIT_S)
    wait_for(lambda: len(endings) == 60, "every callback")
    assert sorted(number for number, _ in endings) == list(range(60)), "each ended once"
    for future, cancelled in said:
        assert future.cancelled() == cancelled, "cancel() said what came of it"
    for number, future in enumerate(futures):
        if future.cancelled():
            with pytest.raises(concurrent.futures.CancelledError):
                future.result()
        else:
            assert future.result() == number + 1


@pytest.mark.parametrize("wrong", [{"unknown": 1}, {"retries": "2"}, {"retries": 1.5}, {"walltime_s": "x"}, {"walltime_s": True}, {"threshold_bytes": None},
                                   {"on_offline": "explode"}, {"container": 5}])
def test_unknown_keywords_and_wrong_types_are_named(client: Client, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        Executor("local", client=client, **wrong)
    executor = Executor("local", client=client)
    with pytest.raises(ConfigError, match=name):
        executor.using(**wrong)
    executor.shutdown()


def test_an_endpoint_that_is_none_is_told_at_submit(client: Client) -> None:
    with Executor(client=client) as executor:
        with pytest.raises(ConfigError, match="no endpoint"):
            executor.submit(add, 1, 2)
        executor.endpoint_id = "nowhere"
        with pytest.raises(UnknownEndpointError, match="nowhere"):
            executor.submit(add, 1, 2)
        executor.endpoint_id = "local"
        assert executor.submit(add, 1, 2).result(WAIT_S) == 3
