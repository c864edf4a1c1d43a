"""Values of earlier calls, taken instead of another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedproxy
from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.errors import ConfigError, DataLostError
from fedproxy.store import Store
from fedproxy.store.proxies import ref_of
from tests.dispatch.gate import heard, say
from tests.programs import Programs


@pytest.fixture
def memo(client: Client):
    made = Executor("local", client=client, memoize=True)
    yield made
    made.shutdown(wait=False)


def count(path: str, value: Any, **_more: Any) -> Any:
    say(path, "ran")
    return value


def zeros(path: str, size: int) -> np.ndarray:
    say(path, "ran")
    return np.zeros(size)


def holds_a_proxy(path: str, url: str) -> dict[str, Any]:
    say(path, "ran")
    return {"inside": Store.from_url(url).proxy(np.arange(1000.0), ttl=600)}


def fail(path: str) -> None:
    say(path, "ran")
    raise ValueError("always")


@fedproxy.memoize
def marked(path: str) -> int:
    say(path, "ran")
    return 7


@pytest.mark.filterwarnings("ignore::fedproxy.errors.EndpointOfflineWarning")
def test_the_same_call_runs_once_wherever_it_is_made_and_whatever_restarts(programs: Programs, tmp_path: Path) -> None:
    said = tmp_path / "said"
    programs.start_service()
    programs.start_endpoint("local", 1)
    for round_ in range(3):
        with programs.client() as client, Executor("local", client=client, memoize=True) as executor:
            future = executor.submit(count, str(said), {"a": [1, 2.5, "x"]}, k=(1, None))
            assert future.result(20) == {"a": [1, 2.5, "x"]}
            assert future.status() == "SUCCEEDED"
            assert client.get_result(future.task_id) == {"a": [1, 2.5, "x"]}
        if round_ == 0:
            programs.kill("service")
            programs.start_service()
        elif round_ == 1:  # a value that is known needs no endpoint
            programs.kill("local")
            programs.start_endpoint("local", 1)
    assert heard(said) == ["ran"]


def test_another_argument_another_function_and_no_wish_run_again(memo: Executor, tmp_path: Path) -> None:
    said = tmp_path / "said"
    calls = [(1,), (1.0,), (True,), ("1",), (b"1",), ([1],), ((1,),), ({1},), ({"a": 1},), (None,), (np.ones(3),), (np.ones(3, "f4"),), (np.ones((1, 3)),)]
    for args in calls:
        memo.submit(count, str(said), *args).result(20)
    assert len(heard(said)) == len(calls)
    for args in calls:
        memo.submit(count, str(said), *args).result(20)
    assert len(heard(said)) == len(calls)
    memo.submit(count, str(said), 1, k=1).result(20)
    memo.using(memoize=False).submit(count, str(said), 1).result(20)
    assert len(heard(said)) == len(calls) + 2


def test_refresh_runs_and_is_remembered(memo: Executor, tmp_path: Path) -> None:
    said = tmp_path / "said"

    def how_often(path: str) -> int:
        say(path, "ran")
        with open(path) as file:
            return len(file.read().split())

    assert [memo.submit(how_often, str(said)).result(20) for _ in range(2)] == [1, 1]
    assert memo.using(memoize="refresh").submit(how_often, str(said)).result(20) == 2
    assert memo.submit(how_often, str(said)).result(20) == 2


def test_failures_are_not_remembered(memo: Executor, tmp_path: Path) -> None:
    said = tmp_path / "said"
    for _ in range(2):
        with pytest.raises(ValueError, match="always"):
            memo.submit(fail, str(said)).result(20)
    assert len(heard(said)) == 2


def test_a_value_whose_data_is_gone_is_made_again(memo: Executor, running: Programs, tmp_path: Path) -> None:
    said = tmp_path / "said"
    first = memo.submit(zeros, str(said), 100_000).result(20)
    ref = ref_of(first)
    assert ref is not None, "a large result is a proxy"
    assert ref_of(memo.submit(zeros, str(said), 100_000).result(20)) == ref, "the very same object"
    del first
    assert len(heard(said)) == 1
    Store.from_url(running.store_url()).evict(ref)
    again = memo.submit(zeros, str(said), 100_000)
    assert memo.submit(np.sum, again).result(20) == 0.0, "also for a task that needs it"
    assert again.result(20).shape == (100_000,)
    assert len(heard(said)) == 2


def test_a_proxy_deep_inside_a_value_counts_too(memo: Executor, running: Programs, tmp_path: Path) -> None:
    said = tmp_path / "said"
    url = running.store_url()
    first = memo.submit(holds_a_proxy, str(said), url).result(20)
    assert memo.submit(holds_a_proxy, str(said), url).result(20)["inside"].sum() == 499_500.0
    assert len(heard(said)) == 1
    Store.from_url(url).evict(ref_of(first["inside"]))
    with pytest.raises((DataLostError, fedproxy.FedproxyError)):
        ref_of(first["inside"]) and Store.from_url(url).get(ref_of(first["inside"]))
    assert memo.submit(holds_a_proxy, str(said), url).result(20)["inside"].sum() == 499_500.0
    assert len(heard(said)) == 2


def test_a_call_on_the_future_of_a_remembered_call_is_remembered(memo: Executor, tmp_path: Path) -> None:
    said = tmp_path / "said"
    for _ in range(2):
        future = memo.submit(count, str(said), 5)
        for _ in range(3):
            future = memo.submit(lambda x, path: say(path, "ran") and x + 1, future, str(said))
        assert future.result(20) == 8
    # the three calls of a chain differ in what they get
    assert len(heard(said)) == 4


def test_a_decorated_function_is_remembered_and_maps_item_by_item(client: Client, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with Executor("local", client=client) as executor:
        assert [executor.submit(marked, str(said)).result(20) for _ in range(3)] == [7, 7, 7]
        assert len(heard(said)) == 1
        using = executor.using(memoize=True)
        assert list(using.map(count, [str(said)] * 3, [1, 2, 3])) == [1, 2, 3]
        assert list(using.map(count, [str(said)] * 4, [4, 3, 2, 1])) == [4, 3, 2, 1]
    assert len(heard(said)) == 5


def test_large_arguments_count_by_their_content(memo: Executor, tmp_path: Path) -> None:
    said = tmp_path / "said"

    def total(path: str, array: np.ndarray) -> float:
        say(path, "ran")
        return float(array.sum())

    big = np.arange(200_000.0)
    assert memo.submit(total, str(said), big).result(20) == memo.submit(total, str(said), big.copy()).result(20)
    assert len(heard(said)) == 1
    big[0] = 1.0
    assert memo.submit(total, str(said), big).result(20) == np.arange(200_000.0).sum() + 1
    assert len(heard(said)) == 2


def test_nobody_is_given_the_values_of_another_user(programs: Programs, tmp_path: Path) -> None:
    """Two users with the same names for their calls: the service answers each from that one's own."""
    from fedproxy.protocol import messages as m
    from fedproxy.protocol.ids import new_task_id
    from fedproxy.protocol.states import TaskState
    from fedproxy.service.ledger import Ledger, Transaction
    from fedproxy.service.rows import Ending, LiveTask

    ledger = Ledger(tmp_path / "service.db")
    task = LiveTask(1, new_task_id(), "one", "g", b"s", "e", TaskState.QUEUED, 0.0, 0.0, 1, payload=b"x", memo=b"m" * 16)
    ledger.apply(Transaction(inserts=[task]))
    assert ledger.recall("one", b"m" * 16) is None
    ledger.apply(Transaction(endings=[Ending(task, TaskState.SUCCEEDED, 1, 1.0, m.Outcome(b"", 0, 0, 0).times, (0, 0), b"value")]))
    assert ledger.recall("one", b"m" * 16) == (task.id, b"value", False)
    assert ledger.recall("two", b"m" * 16) is None
    ledger.close()


@pytest.mark.parametrize("wrong", [1, "yes", None])
def test_what_makes_no_sense_is_refused(client: Client, wrong: object) -> None:
    with pytest.raises(ConfigError, match="memoize"):
        Executor("local", client=client, memoize=wrong)
