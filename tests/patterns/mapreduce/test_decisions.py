"""What a job decides, without running one."""

from __future__ import annotations

import pytest

from fedproxy.errors import ConfigError
from fedproxy.patterns.mapreduce import Options, Patience, pairs
from fedproxy.patterns.mapreduce.phases import phases
from fedproxy.patterns.mapreduce.places import bare, choose_stores, pays_to_compress
from fedproxy.patterns.mapreduce.plan import PHASES, Spent
from fedproxy.patterns.mapreduce.shape import Group, groups, merge_pays
from fedproxy.patterns.mapreduce.speculation import stragglers
from fedproxy.patterns.shuffle.collector import Budget

KNOWN = ("shm://host/site", "redis://host:1?cache_bytes=5", "file:///store?id=1")


@pytest.mark.parametrize(("wanted", "stores"), [
    (None, ["shm://host/site", "redis://host:1", "file:///store?id=1"]),
    ("redis", ["redis://host:1", "file:///store?id=1"]),
    ("file", ["file:///store?id=1"]),
    ("redis://other:2", ["redis://other:2", "file:///store?id=1"]),
    (["shm://host/x", "s3://bucket/y"], ["shm://host/x", "s3://bucket/y", "file:///store?id=1"]),
])
def test_stores_are_chosen_by_kind_or_url_and_files_come_last(wanted: str | list[str] | None, stores: list[str]) -> None:
    assert list(choose_stores("here", KNOWN, wanted)) == stores


def test_a_kind_that_the_endpoint_has_not_is_an_error() -> None:
    with pytest.raises(ConfigError, match="has no s3 store"):
        choose_stores("here", KNOWN, "s3")


def test_blocks_pass_by_the_cache_of_the_node() -> None:
    known = ["nodecache://?store=redis%3A%2F%2F127.0.0.1%3A7000", "file:///store?id=1"]
    assert choose_stores("here", known, "redis") == choose_stores("here", known, None) == ("redis://127.0.0.1:7000", "file:///store?id=1")


def test_no_secret_travels_in_a_store_url() -> None:
    assert bare("redis://user:secret@host:1?ttl_s=5") == "redis://host:1"


def test_compression_pays_over_a_wire_only() -> None:
    assert not pays_to_compress(["shm://host/x"], across_sites=False)
    assert pays_to_compress(["shm://host/x"], across_sites=True)
    assert pays_to_compress(["redis://host"], across_sites=False)


def test_blocks_are_merged_where_segments_are_small_and_far_away() -> None:
    assert merge_pays([1000, 3000], "s3://bucket")
    assert not merge_pays([100_000], "s3://bucket")
    assert not merge_pays([1000], "shm://host/x")


def test_neighbours_at_one_endpoint_are_merged_until_segments_are_large() -> None:
    budget = Budget(8 << 20)
    assert groups([100_000] * 6, ["a", "a", "a", "a", "b", "b"], 9, budget) == [Group(0, 3, "a"), Group(3, 4, "a"), Group(4, 6, "b")]
    assert groups([10 << 20] * 2, ["a", "a"], 1, budget) == [Group(0, 1, "a"), Group(1, 2, "a")]
    assert groups([], [], 3, budget) == []


@pytest.mark.parametrize(("now", "ended", "running", "twins", "again"), [
    (10.0, [1.0, 1.0, 1.2], {7}, set(), [7]),
    (10.0, [1.0, 1.0, 1.2], {7}, {7}, []),
    (1.5, [1.0, 1.0, 1.2], {7}, set(), []),
    (10.0, [1.0], {5, 6, 7}, set(), []),
    (10.0, [], {7}, set(), []),
    (10.0, [9.0, 9.0, 9.0], {7}, set(), []),
])
def test_stragglers_are_those_that_run_for_twice_the_median(now: float, ended: list[float], running: set[int], twins: set[int], again: list[int]) -> None:
    assert stragglers(now, 0.0, ended, running, twins, Patience()) == again


def test_phases_are_summed_up_in_their_order() -> None:
    found = phases([Spent({"map": float(seconds)}) for seconds in range(1, 101)])
    assert [phase.name for phase in found] == list(PHASES)
    phase = found[1]
    assert (phase.tasks, phase.mean_s, phase.p50_s, phase.p95_s, phase.max_s) == (100, 50.5, 50.0, 95.0, 100.0)
    assert found[0].tasks == 0


def test_arguments_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="either"):
        pairs()
    with pytest.raises(ConfigError, match="combiner"):
        pairs(batched=lambda batch: {})
    with pytest.raises(ConfigError, match="ranges"):
        pairs(lambda line: [], ordered=True, partitioner=lambda key, n: 0)
    with pytest.raises(ValueError, match="layout"):
        Options(layout="other")
    with pytest.raises(ValueError, match="memory_bytes"):
        Options(memory_bytes=1)
