from __future__ import annotations

import pytest

from fedproxy.endpoint.strategy import ByDemand, Limits, Load, Plan, Unit, older_than, to_release, wanted_units

UP_TO_FOUR = Limits(max_units=4)


@pytest.mark.parametrize(("load", "units"), [
    (Load(pending=0, idle=0, units=0), 0),
    (Load(pending=1, idle=0, units=0), 1),
    (Load(pending=5, idle=5, units=1), 1),
    (Load(pending=6, idle=5, units=1), 2),
    (Load(pending=10_000, idle=0, units=1), 4),
    (Load(pending=0, idle=3, units=3), 3),
])
def test_units_grow_only_for_tasks_that_no_idle_worker_could_take(load: Load, units: int) -> None:
    assert wanted_units(load, UP_TO_FOUR) == units


@pytest.mark.parametrize(("parallelism", "units"), [(1.0, 10), (0.5, 5), (0.1, 1), (0.01, 1)])
def test_less_parallelism_is_less_aggressive(parallelism: float, units: int) -> None:
    limits = Limits(max_units=100, workers_per_unit=4, parallelism=parallelism)
    assert wanted_units(Load(pending=40, idle=0, units=0), limits) == units


def test_the_minimum_is_held_without_any_load() -> None:
    assert wanted_units(Load(0, 0, 0), Limits(min_units=2, max_units=4)) == 2


def test_the_longest_idle_are_released_first_and_only_after_their_time() -> None:
    units = [Unit("busy"), Unit("a", 10.0), Unit("b", 5.0), Unit("fresh", 99.0)]
    assert to_release(units, 4, 20.0, 100.0) == ("b", "a")
    assert to_release(units, 1, 20.0, 100.0) == ("b",)
    assert to_release(units, -1, 20.0, 100.0) == ()
    assert to_release(units, 4, 200.0, 100.0) == ()


def test_nothing_is_released_while_tasks_wait_and_nothing_below_the_minimum() -> None:
    idle = [Unit("a", 0.0), Unit("b", 0.0)]
    limits = Limits(min_units=1, max_units=2)
    assert ByDemand(10).plan(Load(5, 2, 2), idle, limits, 100.0) == Plan()
    assert ByDemand(10).plan(Load(0, 2, 2), idle, limits, 100.0) == Plan(release=("a",))
    assert ByDemand(10).plan(Load(0, 2, 2), idle, limits, 5.0) == Plan()


def test_growing_and_releasing_never_happen_at_once() -> None:
    plan = ByDemand(10).plan(Load(5, 1, 1), [Unit("a", 0.0)], UP_TO_FOUR, 100.0)
    assert plan == Plan(grow=3)


def test_only_tasks_that_have_waited_long_enough_count() -> None:
    assert older_than([0.0, 5.0, 9.5], 1.0, 10.0) == 2
    assert older_than([], 1.0, 10.0) == 0
