"""Whoever waits for a result reads the stream; nothing else may change for anybody."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedproxy.dispatch.executor import Executor
from tests.programs import wait_for


def slow(value: int) -> int:
    time.sleep(0.5)
    return value


def test_callbacks_run_in_the_receiving_thread_whoever_read(executor: Executor) -> None:
    names: list[str] = []
    for number in range(20):
        future = executor.submit(abs, -number)
        future.add_done_callback(lambda _: names.append(threading.current_thread().name))
        assert future.result(30) == number
    wait_for(lambda: len(names) == 20, "all callbacks")
    assert set(names) <= {"fedproxy-receive", threading.current_thread().name}  # this one: added when it had already ended
    assert "fedproxy-receive" in names


def test_a_callback_may_wait_for_another_result(executor: Executor) -> None:
    found: list[int] = []
    first = executor.submit(slow, 1)
    second = executor.submit(slow, 2)
    first.add_done_callback(lambda _: found.append(second.result(30)))
    wait_for(lambda: found == [2], "the callback")


def test_an_interrupt_while_waiting_loses_nothing(executor: Executor) -> None:
    executor.submit(abs, 1).result(30)  # the stream is open
    future = executor.submit(slow, 7)
    others = [executor.submit(slow, number) for number in range(3)]
    main = threading.get_ident()
    turns = future.turns
    assert turns is not None
    interrupter = threading.Thread(
        target=lambda: (wait_for(lambda: turns._leader == main, "the main thread to read"), signal.pthread_kill(main, signal.SIGINT)))
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        future.result(30)
    interrupter.join()
    assert future.result(30) == 7
    assert [other.result(30) for other in others] == [0, 1, 2]


def test_many_threads_that_wait_each_get_their_own(executor: Executor) -> None:
    def ask(thread: int) -> bool:
        return all(executor.submit(abs, -number).result(60) == number for number in range(thread, 300, 8))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_a_result_that_nobody_waits_for_arrives_after_one_that_was_waited_for(executor: Executor) -> None:
    done = threading.Event()
    assert executor.submit(abs, -1).result(30) == 1
    executor.submit(abs, -2).add_done_callback(lambda _: done.set())
    assert done.wait(30)


def test_a_wait_that_is_too_short_raises_and_the_result_still_comes(executor: Executor) -> None:
    future = executor.submit(slow, 3)
    with pytest.raises(TimeoutError):
        future.result(0.05)
    with pytest.raises(TimeoutError):
        future.exception(0)
    assert future.exception(30) is None
    assert future.result(0) == 3


def test_waiting_for_a_result_takes_no_processor_time(executor: Executor) -> None:
    executor.submit(abs, 1).result(30)
    time.sleep(0.05)  # the receiving thread has taken over, and has to be asked for the turn
    future = executor.submit(slow, 3)
    before = time.thread_time()
    assert future.result(30) == 3
    assert time.thread_time() - before < 0.25
