"""Which place gets a task."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from fedproxy.endpoint.router import Choice, RandomRouter, Ranking, Router, WarmingAware

ROUTERS = [WarmingAware, lambda: RandomRouter(1)]


def test_the_place_with_most_idle_containers_of_the_kind_is_chosen() -> None:
    router: WarmingAware[str] = WarmingAware()
    router.advertise("one", 5, {"a": 1})
    router.advertise("many", 0, {"a": 3, "b": 1})
    assert router.route("a") == Choice("many", "warm")
    assert router.route("a") == Choice("many", "warm")
    assert {router.route("a"), router.route("a")} == {Choice("many", "warm"), Choice("one", "warm")}


def test_without_a_warm_container_an_empty_slot_is_taken_before_one_is_released() -> None:
    router: WarmingAware[str] = WarmingAware()
    router.advertise("full", 0, {"b": 4})
    router.advertise("roomy", 1, {})
    assert router.route("a", at_most="warm") is None
    assert router.route("a", at_most="start") == Choice("roomy", "start")
    assert router.route("a", at_most="start") is None
    assert router.route("a") == Choice("full", "evict")


def test_a_container_that_is_idle_again_is_used_again() -> None:
    router: WarmingAware[str] = WarmingAware()
    router.advertise("here", 0, {"a": 1})
    assert router.route("a") == Choice("here", "warm")
    assert router.route("a") is None
    router.freed("here", "a")
    assert router.route("a") == Choice("here", "warm")


@pytest.mark.parametrize("make", ROUTERS)
def test_a_place_that_left_gets_nothing(make: type[WarmingAware[str]]) -> None:
    router = make()
    router.advertise("gone", 2, {"a": 2})
    router.leave("gone")
    router.leave("gone")
    router.freed("gone", "a")
    assert router.route("a") is None


def test_random_routing_reaches_every_place_alike() -> None:
    router: RandomRouter[int] = RandomRouter(7)
    seen: Counter[int] = Counter()
    for place in range(4):
        router.advertise(place, 0, {"a": 1})
    for _ in range(4000):
        choice = router.route("a")
        assert choice is not None
        assert choice.how == "warm"
        seen[choice.place] += 1
        router.freed(choice.place, "a")
    assert min(seen.values()) > 850


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8))))
def test_a_ranking_knows_its_highest(moves: list[tuple[int, int]]) -> None:
    ranking: Ranking[int] = Ranking()
    numbers: dict[int, int] = {}
    for place, number in moves:
        ranking.set(place, number)
        numbers[place] = number
        best = ranking.best()
        assert (numbers[best] if best is not None else 0) == max(numbers.values())
        assert len(ranking) == sum(n > 0 for n in numbers.values())


class Slots(RuleBasedStateMachine):
    """A router against the truth: never more tasks at a place than it has room for, and none left out while there is room."""

    def __init__(self) -> None:
        super().__init__()
        self.router: Router[int] = self.make()
        self.room: dict[int, int] = {}
        self.busy: list[tuple[int, str]] = []

    def make(self) -> Router[int]:
        return WarmingAware()

    @rule(place=st.integers(0, 3), empty=st.integers(0, 2), warm=st.dictionaries(st.sampled_from("ab"), st.integers(1, 2)))
    def advertise(self, place: int, empty: int, warm: dict[str, int]) -> None:
        self.router.advertise(place, empty, warm)
        self.room[place] = empty + sum(warm.values())
        self.busy = [entry for entry in self.busy if entry[0] != place]

    @rule(kind=st.sampled_from("abc"))
    def route(self, kind: str) -> None:
        choice = self.router.route(kind)
        assert (choice is None) == (sum(self.room.values()) == 0)
        if choice is not None:
            assert self.room[choice.place] > 0
            self.room[choice.place] -= 1
            self.busy.append((choice.place, kind))

    @precondition(lambda self: self.busy)
    @rule()
    def end(self) -> None:
        place, kind = self.busy.pop()
        self.router.freed(place, kind)
        self.room[place] += 1

    @rule(place=st.integers(0, 3))
    def leave(self, place: int) -> None:
        self.router.leave(place)
        self.room.pop(place, None)
        self.busy = [entry for entry in self.busy if entry[0] != place]


class RandomSlots(Slots):
    def make(self) -> Router[int]:
        return RandomRouter(1)


TestWarmingAware = Slots.TestCase
TestRandom = RandomSlots.TestCase
