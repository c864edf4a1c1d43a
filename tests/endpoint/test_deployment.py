"""Which containers a node holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedproxy.endpoint.deployment import Demand, Step, fill_empty, replace_idle, shares, starved, worth_starting

DEMANDS = st.dictionaries(st.sampled_from("abcde"), st.builds(Demand, waiting=st.integers(0, 40), oldest_s=st.floats(0, 9)))


@given(DEMANDS, st.integers(0, 30))
def test_shares_are_proportional_and_use_what_there_is(demands: dict[str, Demand], capacity: int) -> None:
    found = shares(demands, capacity)
    total = sum(d.waiting for d in demands.values())
    assert sum(found.values()) == min(capacity, total)
    assert all(1 <= count <= demands[kind].waiting for kind, count in found.items())
    waiting = [kind for kind, d in demands.items() if d.waiting]
    assert len(found) == min(capacity, len(waiting))
    for more in found:
        for less in found:
            if demands[more].waiting > demands[less].waiting + total / max(1, capacity) * 2:
                assert found[more] >= found[less]


def test_the_kinds_that_wait_longest_come_first_when_there_is_room_for_few() -> None:
    demands = {"new": Demand(50, oldest_s=1), "old": Demand(1, oldest_s=9)}
    assert shares(demands, 1) == {"old": 1}


def test_empty_slots_are_filled_only_for_tasks_that_nothing_is_there_or_coming_for() -> None:
    assert fill_empty({"a": Demand(3, containers=2, idle=1, starting=1)}, 5) == [Step("a")]
    assert fill_empty({"a": Demand(2, containers=2, idle=1, starting=1)}, 5) == []
    assert fill_empty({"a": Demand(3)}, 0) == []


@pytest.mark.parametrize(("demand", "worth"), [
    (Demand(0), False),
    (Demand(1), True),
    (Demand(1, containers=1), True),
    (Demand(5, containers=10, run_s=20, cold_s=10), False),
    (Demand(30, containers=10, run_s=20, cold_s=10), True),
    (Demand(300, containers=1, run_s=0.001, cold_s=10), False),
    (Demand(1, containers=1, run_s=60, cold_s=0.2), True),
])
def test_a_container_is_replaced_only_for_one_that_will_be_of_use(demand: Demand, worth: bool) -> None:
    assert worth_starting(demand) is worth


def test_the_container_that_was_idle_longest_goes() -> None:
    demands = {"new": Demand(1), "lately": Demand(0, containers=5, idle=5, idle_s=1), "long ago": Demand(0, containers=1, idle=1, idle_s=60)}
    assert replace_idle(demands) == Step("new", "long ago")


def test_a_kind_with_work_keeps_its_containers_from_one_that_is_not_starved() -> None:
    busy = Demand(100, containers=2, idle=1, ripe=1)
    assert replace_idle({"busy": busy, "new": Demand(1, oldest_s=0.1, cold_s=1)}) is None
    patient = Demand(1, oldest_s=5, cold_s=1)
    assert starved(patient)
    assert replace_idle({"busy": busy, "new": patient}) == Step("new", "busy")
    assert replace_idle({"busy": Demand(100, containers=2, idle=1), "new": patient}) is None, "what has just come up has to be of use first"
    assert replace_idle({"busy": busy, "served": Demand(1, containers=1, oldest_s=5, cold_s=1)}) is None


@given(st.dictionaries(st.sampled_from("abc"), st.builds(
    Demand, waiting=st.integers(0, 9), containers=st.integers(0, 4), idle=st.integers(0, 3), starting=st.integers(0, 2), oldest_s=st.floats(0, 9))))
def test_what_is_released_is_idle_and_of_another_kind(demands: dict[str, Demand]) -> None:
    step = replace_idle(demands)
    if step is not None:
        assert step.release is not None
        assert step.release != step.start
        assert demands[step.release].idle > 0
        assert demands[step.start].unserved > 0
