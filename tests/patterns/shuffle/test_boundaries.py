"""Sampled boundaries cut data into parts of about equal size."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fedproxy.patterns.shuffle.boundaries import boundaries, reservoir
from fedproxy.patterns.shuffle.partition import ByFunction, ByHash, ByRange, hash_key
from fedproxy.patterns.shuffle.records import Run


def test_every_item_is_as_likely_to_be_sampled() -> None:
    seen = Counter(item for seed in range(3000) for item in reservoir(range(50), 10, seed))
    assert set(seen) == set(range(50))
    assert max(seen.values()) < 1.25 * min(seen.values())  # 600 each; 5 sigma are 110


def test_a_sample_of_few_items_is_all_of_them() -> None:
    assert reservoir("abc", 10, 1) == ["a", "b", "c"]
    assert reservoir([], 3, 1) == []
    assert reservoir("abc", 0, 1) == []


def test_parts_are_of_equal_size_where_inputs_are_not() -> None:
    rng = random.Random(1)
    low, high = [rng.random() for _ in range(100)], [1 + rng.random() for _ in range(100)]
    found = boundaries([low, high], [3.0, 1.0], 8)
    assert len(found) == 7
    assert sum(key < 1 for key in found) in (5, 6)  # three quarters of the data are below 1


@given(st.lists(st.lists(st.integers(0, 9), max_size=30), max_size=4), st.integers(1, 20))
def test_boundaries_ascend_and_are_fewer_than_reducers(samples: list[list[int]], reduces: int) -> None:
    found = boundaries(samples, [1.0] * len(samples), reduces)
    assert found == sorted(set(found))
    assert len(found) < reduces


def test_a_key_that_is_most_of_the_data_does_not_make_empty_parts_beside_it() -> None:
    found = boundaries([["b"] * 90 + list("acdefghijk")], [1.0], 10)
    assert len(found) <= 2


@given(st.lists(st.integers(0, 99)), st.integers(1, 8))
def test_partitioners_keep_every_record_and_equal_keys_together(keys: list[int], reduces: int) -> None:
    keys.sort()
    cutters = [ByHash(reduces), ByRange(tuple(range(10, 10 * reduces, 10))), ByFunction(reduces, lambda key, n: key % n)]
    for cutter in cutters:
        parts = cutter.cut(Run(keys, [str(key) for key in keys]))
        assert len(parts) == cutter.reduces
        assert sorted(key for part in parts for key in part.keys) == keys
        assert all(part.values == [str(key) for key in part.keys] for part in parts)
        assert sum(len(set(part.keys)) for part in parts) == len(set(keys))


def test_keys_hash_alike_in_every_process() -> None:
    assert [hash_key(key) for key in (b"word", "word", 7, ("a", 1))] == [3287381265, 3287381265, 1790921346, 2745452491]
