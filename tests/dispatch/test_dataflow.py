"""Futures as arguments: a graph of tasks without the client in the middle."""

from __future__ import annotations

import gc
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

from fedproxy.dispatch.executor import Executor
from fedproxy.errors import TaskLostError
from fedproxy.store import traffic
from tests.programs import Programs, wait_for


def add(a: int, b: int) -> int:
    return a + b


def grow(x: np.ndarray) -> np.ndarray:
    return x + 1


def total(*arrays: np.ndarray) -> float:
    assert all(type(a) is np.ndarray for a in arrays)
    return float(sum(a.sum() for a in arrays))


def slow(value: int) -> int:
    time.sleep(0.3)
    return value


def test_a_future_stands_for_its_value_wherever_it_is_put(executor: Executor) -> None:
    one, two = executor.submit(slow, 1), executor.submit(slow, 2)
    assert executor.submit(add, one, two).result(20) == 3
    assert executor.submit(sum, [one, two, 4]).result(20) == 7
    assert executor.submit(lambda d, *, k: d["x"] + k, {"x": one}, k=two).result(20) == 3


def test_submitting_on_an_unfinished_task_does_not_wait(executor: Executor) -> None:
    future = first = executor.submit(lambda: time.sleep(2) or 1)
    for _ in range(20):
        future = executor.submit(add, future, 1)
    assert not first.done()
    assert future.result(20) == 21


def test_large_values_pass_from_task_to_task_and_not_through_client_or_service(executor: Executor) -> None:
    before = executor.client.service_stats()
    future = executor.submit(np.zeros, 1_000_000)
    for _ in range(5):
        future = executor.submit(grow, future)
    gc.collect()
    assert executor.submit(total, future, future).result(20) == 10_000_000
    after = executor.client.service_stats()
    assert after["bytes_in"] + after["bytes_out"] - before["bytes_in"] - before["bytes_out"] < 30_000


@pytest.mark.timeout(60)
def test_a_chain_of_a_thousand_and_a_diamond_a_thousand_wide(executor: Executor) -> None:
    future = executor.submit(add, 0, 0)
    for _ in range(1000):
        future = executor.submit(add, future, 1)
    top = executor.submit(add, 1, 1)
    middle = [executor.submit(add, top, i) for i in range(1000)]
    bottom = executor.submit(lambda *values: sum(values), *middle)
    assert bottom.result(50) == sum(2 + i for i in range(1000))
    assert future.result(50) == 1000


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_values_of_a_chain_of_a_thousand_and_of_a_diamond_pass_neither_client_nor_service(executor: Executor) -> None:
    """Each value is 100 kB; all that client and service see of the 200 MB is counted."""
    kilobytes = 100

    def passed() -> int:
        stats = executor.client.service_stats()
        return stats["bytes_in"] + stats["bytes_out"]

    before, (read, written) = passed(), traffic.totals()
    future = executor.submit(np.zeros, kilobytes * 128)
    chain = [future]
    for _ in range(1000):
        chain.append(executor.submit(grow, chain[-1]))
    wide = [executor.submit(grow, chain[0]) for _ in range(1000)]
    assert executor.submit(total, chain[-1]).result(150) == 1000 * kilobytes * 128
    assert executor.submit(total, *wide).result(150) == 1000 * kilobytes * 128
    assert passed() - before < 2_000_000, "of 2,000 values of 100 kB not even the arguments' and refs' kilobyte each"
    assert traffic.totals() == (read, written), "the client neither read nor wrote any object"


def test_an_exception_ends_all_that_needs_its_value(executor: Executor) -> None:
    bad = executor.submit(lambda: 1 // 0)
    first = executor.submit(add, bad, 1)
    second = executor.submit(add, first, 1)
    for future in (first, second):
        with pytest.raises(ZeroDivisionError):
            future.result(20)


def test_a_lost_task_ends_what_needs_it_as_lost(executor: Executor) -> None:
    import os

    bad = executor.submit(os._exit, 1)
    with pytest.raises(TaskLostError, match="which it needs, ended LOST"):
        executor.submit(add, bad, 1).result(20)


def test_cancelling_a_waiting_task_leaves_the_others(executor: Executor) -> None:
    first = executor.submit(slow, 1)
    second, third = executor.submit(add, first, 1), executor.submit(add, first, 2)
    wait_for(lambda: second.status() == "WAITING", "the task to be held")
    assert second.cancel()
    with pytest.raises(CancelledError):
        second.result()
    assert third.result(20) == 3


def test_a_task_may_need_one_of_another_executor(executor: Executor) -> None:
    with Executor("local", client=executor.client) as other:
        first = other.submit(slow, 5)
        assert executor.submit(add, first, 1).result(20) == 6


def test_waiting_tasks_survive_a_restart_of_the_service(programs: Programs) -> None:
    programs.start_service()
    programs.start_endpoint("local", 1)
    with programs.client() as client, Executor("local", client=client) as executor:
        first = executor.submit(time.sleep, 2.0)
        second = executor.submit(lambda _none, x: x, first, 7)
        wait_for(lambda: second.status() == "WAITING", "the task to be held")
        programs.kill("service")
        programs.start_service()
        assert second.result(20) == 7
