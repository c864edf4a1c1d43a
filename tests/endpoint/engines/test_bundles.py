from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedproxy.endpoint.engines.base import Job
from fedproxy.endpoint.engines.bundles import BundleLimits, Flights, fair_share, take_bundle
from fedproxy.protocol.messages import Task
from fedproxy.protocol.ranked import Ranked

LIMITS = BundleLimits(cover_s=1.0, most=4, size_bytes=100)


def job(name: str, size: int = 1, attempt: int = 0) -> Job:
    return Job(Task(name.encode(), b"spec", attempt, size), bytes(size), 0.0)


def ranked(jobs: Iterable[Job]) -> Ranked[Job]:
    found: Ranked[Job] = Ranked()
    for each in jobs:
        found.push(each, 0)
    return found


def taken(names: str, expected: dict[str, float | None], share: int = 100, limits: BundleLimits = LIMITS) -> str:
    return "".join(j.task.id.decode() for j in take_bundle(ranked(map(job, names)), lambda j: expected.get(j.task.id.decode(), 0.1), share, limits))


def test_short_calls_travel_together_up_to_the_limits() -> None:
    assert taken("abcdef", {}) == "abcd"
    assert taken("abcdef", {}, share=2) == "ab"
    assert taken("abcdef", {"b": 0.95}) == "a"
    assert take_bundle(ranked([job("a", 60), job("b", 60)]), lambda _: 0.0, 9, LIMITS)[1:] == []


def test_a_call_of_unknown_or_great_length_goes_alone() -> None:
    assert taken("abc", {"a": None}) == "a"
    assert taken("abc", {"b": None}) == "a"
    assert taken("abc", {"a": 7.0}) == "a"


@given(st.lists(st.one_of(st.none(), st.floats(0, 3)), max_size=30), st.integers(1, 9))
def test_every_job_is_in_exactly_one_bundle_in_order(times: list[float | None], share: int) -> None:
    waiting = ranked(job(str(i)) for i in range(len(times)))
    order = []
    while waiting:
        bundle = take_bundle(waiting, lambda j: times[int(j.task.id)], share, LIMITS)
        assert 1 <= len(bundle) <= min(share, LIMITS.most)
        assert len(bundle) == 1 or sum(times[int(j.task.id)] or 0 for j in bundle) <= LIMITS.cover_s
        order += [int(j.task.id) for j in bundle]
    assert order == list(range(len(times)))


@pytest.mark.parametrize(("waiting", "free", "share"), [(10, 4, 3), (1, 4, 1), (0, 1, 0), (5, 0, 5)])
def test_no_place_stays_empty_while_another_has_plenty(waiting: int, free: int, share: int) -> None:
    assert fair_share(waiting, free) == share


def ids(jobs: list[Job]) -> list[bytes]:
    return [j.task.id for j in jobs]


def both(flights: Flights, number: int, peer: bytes, *names: str) -> tuple[list[bytes], list[bytes]]:
    granted, fresh = flights.claim(peer, number, [(n.encode(), 0) for n in names], 0.0)
    return ids(granted), ids(fresh)


def test_only_what_is_still_wanted_is_granted_and_only_once() -> None:
    flights = Flights()
    number = flights.send([job("a"), job("b"), job("c")], 0.0).number
    assert ids(flights.drop(b"b")) == [b"b"]
    assert both(flights, number, b"w1", "a", "b", "c") == ([b"a", b"c"], [b"a", b"c"])
    assert both(flights, number, b"w1", "a", "b", "c") == ([b"a", b"c"], [])  # the answer was lost
    assert both(flights, number, b"w2", "a", "b", "c") == ([], [])  # the bundle was delivered twice
    assert flights.drop(b"a") == []
    assert flights.holder(b"a") == b"w1"


def test_an_older_attempt_is_neither_granted_nor_ended() -> None:
    flights = Flights()
    number = flights.send([job("a", attempt=1)], 0.0).number
    assert flights.claim(b"w", number, [(b"a", 0)], 0.0) == ([], [])
    assert flights.end(b"a", 0) is None
    assert flights.end(b"a", 1) is not None
    assert flights.end(b"a", 1) is None


def test_a_bundle_that_fails_gives_back_what_nobody_claimed_and_loses_the_rest() -> None:
    flights = Flights()
    one = flights.send([job("a"), job("b")], 0.0).number
    two = flights.send([job("c")], 0.0).number
    both(flights, one, b"w1", "a", "b")
    assert flights.end(b"a", 0) is not None
    unclaimed, missing = flights.land(one)
    assert (ids(unclaimed), missing) == ([], True)
    assert ids(flights.give_up(one)) == [b"b"]
    unclaimed, missing = flights.land(two)
    assert (ids(unclaimed), missing) == ([b"c"], False)
    assert both(flights, two, b"w1", "c") == ([], []), "what was sent again is not granted under its old number"
    assert (len(flights), flights.unclaimed) == (0, 0)


def test_a_worker_that_leaves_loses_what_it_had_and_nothing_else() -> None:
    flights = Flights()
    one, two = flights.send([job("a")], 0.0).number, flights.send([job("b")], 0.0).number
    both(flights, one, b"w1", "a")
    both(flights, two, b"w2", "b")
    assert ids(flights.lost_with(b"w1")) == [b"a"]
    assert b"b" in flights


def test_what_a_worker_gives_back_must_be_its_own() -> None:
    flights = Flights()
    number = flights.send([job("a"), job("b")], 0.0).number
    both(flights, number, b"w1", "a", "b")
    assert flights.take_back(b"w2", [b"a"]) == []
    assert ids(flights.take_back(b"w1", [b"b", b"unknown"])) == [b"b"]


def test_a_bundle_that_was_overtaken_for_long_got_lost() -> None:
    flights = Flights()
    lost, other = flights.send([job("a")], 0.0).number, flights.send([job("b")], 1.0).number
    assert flights.overtaken(100.0, 10.0) == []
    flights.claim(b"w", other, [(b"b", 0)], 100.0)
    assert flights.overtaken(105.0, 10.0) == []
    assert flights.overtaken(110.0, 10.0) == [lost]
    assert ids(flights.land(lost)[0]) == [b"a"]


def test_counts_follow() -> None:
    flights = Flights()
    number = flights.send([job("a"), job("b")], 0.0).number
    flights.send([job("c")], 0.0)
    assert (flights.unclaimed, flights.running, flights.queued) == (3, 0, 2)
    both(flights, number, b"w", "a", "b")
    assert (flights.unclaimed, flights.running, flights.queued) == (1, 1, 1)
    flights.end(b"a", 0)
    flights.end(b"b", 0)
    assert (len(flights), flights.running) == (2, 1), "until its carrier says that it is over"
    flights.land(number)
    assert (len(flights), flights.running) == (1, 0)
