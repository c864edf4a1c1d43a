"""Slots: taken whole, in turn, moved between pools, and given up without a look at the clock."""

from __future__ import annotations

import threading
import time

import pytest

from fedproxy.errors import ConfigError
from fedproxy.patterns.steering import Flag, ResourceCounter
from fedproxy.patterns.steering.resources import Reallocator
from tests.programs import wait_for


def counter(sim: int = 2, ml: int = 0) -> ResourceCounter:
    made = ResourceCounter(sim + ml, ["sim", "ml"])
    made.reallocate(None, "sim", sim)
    if ml:
        made.reallocate(None, "ml", ml)
    return made


def test_slots_are_taken_and_given_back() -> None:
    rec = counter(2)
    assert rec.acquire("sim", 2)
    assert not rec.acquire("sim", 1, timeout=0.01)
    assert rec.release("sim", 2)
    assert (rec.available_slots("sim"), rec.allocated_slots("sim"), rec.unallocated_slots) == (2, 2, 0)


def test_a_slot_that_is_released_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="released twice"):
        counter(2).release("sim")


def test_unknown_pools_and_bad_numbers_are_errors() -> None:
    with pytest.raises(KeyError, match="no pool called 'gpu'"):
        counter().acquire("gpu")
    with pytest.raises(ConfigError):
        ResourceCounter(-1)
    with pytest.raises(ValueError, match="to itself"):
        counter().reallocate("sim", "sim", 1)


def test_a_request_for_many_is_not_starved_by_requests_for_one() -> None:
    rec = counter(2)
    rec.acquire("sim", 1)
    served: list[str] = []
    big = threading.Thread(target=lambda: served.append("big") if rec.acquire("sim", 2, timeout=20) else None)
    big.start()
    wait_for(lambda: len(rec._turns["sim"]) == 1, "the big request to wait")
    small = threading.Thread(target=lambda: served.append("small") if rec.acquire("sim", 1, timeout=20) else None)
    small.start()
    wait_for(lambda: len(rec._turns["sim"]) == 2, "the small request to wait")
    rec.release("sim", 1)
    big.join(20)
    assert served == ["big"]
    rec.release("sim", 2)
    small.join(20)
    assert served == ["big", "small"]


@pytest.mark.parametrize("kind", [Flag, threading.Event])
def test_a_request_is_given_up_when_the_event_is_set(kind: type[threading.Event]) -> None:
    rec, done = counter(0), kind()
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(rec.acquire("sim", 1, cancel_if=done)))
    waiting.start()
    wait_for(lambda: rec._turns["sim"], "the request to wait")
    done.set()
    waiting.join(20)
    assert answers == [False]


def test_slots_move_as_they_become_free_also_in_the_background() -> None:
    rec, moved = counter(2), threading.Event()
    rec.acquire("sim", 1)
    rec.reallocate("sim", "ml", "all", block=False, callback=moved.set)
    assert not moved.is_set()
    rec.release("sim", 1)
    assert moved.wait(20)
    assert (rec.allocated_slots("sim"), rec.allocated_slots("ml")) == (0, 2)


def test_a_reallocator_gathers_while_something_goes_on_and_disperses_afterwards() -> None:
    rec = counter(3)
    reallocator = Reallocator(rec, gather_from="sim", gather_to="ml", disperse_to="sim", max_slots=2)
    reallocator.start()
    wait_for(lambda: rec.allocated_slots("ml") == 2, "two slots to be gathered")
    reallocator.finish()
    assert (rec.allocated_slots("sim"), rec.allocated_slots("ml")) == (3, 0)


def test_many_threads_never_hold_more_slots_than_there_are() -> None:
    rec, lock = counter(3), threading.Lock()
    held = most = 0

    def work() -> None:
        nonlocal held, most
        for _ in range(50):
            assert rec.acquire("sim", 1, timeout=30)
            with lock:
                held += 1
                most = max(most, held)
            time.sleep(0)
            with lock:
                held -= 1
            rec.release("sim", 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most <= 3
    assert rec.available_slots("sim") == 3
