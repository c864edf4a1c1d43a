"""A queue by priority."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedproxy.protocol.ranked import Ranked


@given(st.lists(st.integers(-3, 3), max_size=60))
def test_higher_goes_first_and_equals_in_order(priorities: list[int]) -> None:
    ranked: Ranked[int] = Ranked()
    for number, priority in enumerate(priorities):
        ranked.push(number, priority)
    expected = sorted(range(len(priorities)), key=lambda n: (-priorities[n], n))
    assert list(ranked) == expected
    assert len(ranked) == len(expected)
    assert [ranked.pop() for _ in expected] == [(n, priorities[n]) for n in expected]
    assert not ranked


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60), st.data())
def test_taking_out_leaves_the_order_of_the_others(pushes: list[tuple[int, bool]], data: st.DataObject) -> None:
    ranked: Ranked[int] = Ranked()
    for number, (priority, front) in enumerate(pushes):
        (ranked.push_front if front else ranked.push)(number, priority)
    before = list(ranked)
    gone = set(data.draw(st.lists(st.sampled_from(before), unique=True))) if before else set()
    assert set(ranked.take_out(lambda number, _priority: number in gone)) == gone
    assert list(ranked) == [number for number in before if number not in gone]
    assert [ranked.pop()[0] for _ in range(len(ranked))] == [number for number in before if number not in gone]
