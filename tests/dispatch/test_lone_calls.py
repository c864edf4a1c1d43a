"""Lone calls: sent by their caller; their answers are heard by the next caller, or by the thread that looks for them."""

from __future__ import annotations

import socket
import time

import pytest

from fedproxy.dispatch.executor import Executor
from fedproxy.dispatch.outbox import Outbox
from fedproxy.errors import ConflictError
from tests.programs import Programs, wait_for


def echo(value: int) -> int:
    return value


def nap(value: int) -> int:
    time.sleep(0.02)
    return value


def outbox(executor: Executor) -> Outbox:
    return executor._connection._outbox


def line_socket(executor: Executor) -> socket.socket:
    fast = outbox(executor)._line._fast
    assert fast is not None
    assert fast._socket is not None
    return fast._socket


def test_answers_are_heard_without_anybody_asking(executor: Executor) -> None:
    for number in range(20):
        assert executor.submit(echo, number).result(20) == number
    wait_for(lambda: outbox(executor)._items == 0, "the answer to the last call", 2.0)


def test_a_flush_hears_the_answer_at_once(executor: Executor) -> None:
    assert [executor.submit(echo, number).result(20) for number in range(3)] == [0, 1, 2]
    executor.flush()
    assert outbox(executor)._items == 0


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_RDWR])
def test_calls_whose_answers_are_lost_are_sent_again_and_run_once(executor: Executor, how: int) -> None:
    for number in range(10):
        future = executor.submit(echo, number)
        line_socket(executor).shutdown(how)
        assert executor.submit(echo, -number).result(20) == -number
        assert future.result(20) == number
    executor.flush()
    group = executor.client.get_task_group(executor.task_group_id)
    assert len(group) == 20
    assert all(task["state"] == "SUCCEEDED" for task in group)


def test_a_refusal_between_lone_calls_reaches_its_future(executor: Executor) -> None:
    assert executor.submit_once("a key", echo, 1).result(20) == 1
    other = executor.submit_once("a key", echo, 2)
    assert executor.submit(echo, 3).result(20) == 3
    with pytest.raises(ConflictError):
        other.result(20)


def test_calls_behind_a_long_queue_all_arrive(executor: Executor) -> None:
    futures = []
    for number in range(120):
        futures.append(executor.submit(nap, number))
        time.sleep(0.002)  # one at a time, while the workers have enough to do
    assert [future.result(60) for future in futures] == list(range(120))


def test_a_map_takes_futures_among_its_values(executor: Executor) -> None:
    assert list(executor.map(echo, [executor.submit(nap, 1), 2, executor.submit(nap, 3)])) == [1, 2, 3]


def test_a_map_of_more_chunks_than_go_together(executor: Executor) -> None:
    assert list(executor.map(echo, range(200), chunksize=1)) == list(range(200))


def test_answers_are_heard_by_the_next_caller_after_a_restart_of_the_service(programs: Programs) -> None:
    programs.start_service()
    programs.start_endpoint()
    with programs.client() as client, Executor("local", client=client) as executor:
        assert executor.submit(echo, 1).result(20) == 1
        programs.kill("service")
        programs.start_service()
        assert [executor.submit(echo, number).result(30) for number in range(5)] == list(range(5))
