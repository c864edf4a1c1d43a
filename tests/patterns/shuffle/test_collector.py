"""Gathering within a bound: whatever is spilled, the answer is the same."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedproxy.patterns.shuffle.block import BlockBuilder
from fedproxy.patterns.shuffle.chunks import decode_chunks
from fedproxy.patterns.shuffle.collector import Budget, Collector
from fedproxy.patterns.shuffle.merging import FAN_IN, merge
from fedproxy.patterns.shuffle.partition import ByHash, ByRange
from fedproxy.patterns.shuffle.records import Counts, Lines, Pairs, Run

SMALL = Budget(256 * 1024)


def lines_run(lines: list[bytes]) -> Run:
    return Lines().decode(b"".join(line + b"\n" for line in lines))


@given(st.lists(st.lists(st.lists(st.integers(0, 30), max_size=5), max_size=4), max_size=5))
def test_merged_runs_are_in_order_and_whole(streams: list[list[list[int]]]) -> None:
    flat = [sorted(key for piece in stream for key in piece) for stream in streams]
    ordered = [iter([Run(keys[at : at + 3]) for at in range(0, len(keys), 3)]) for keys in flat]
    merged = [key for run in merge(ordered, Lines().gatherer()) for key in run.keys]
    assert merged == sorted(key for keys in flat for key in keys)


@given(st.lists(st.dictionaries(st.integers(0, 30), st.integers(1, 5), max_size=12), max_size=5))
def test_equal_keys_of_different_runs_are_combined_once(counts: list[dict[int, int]]) -> None:
    streams = [iter([Run([key], [each[key]]) for key in sorted(each)]) for each in counts]
    merged = [pair for run in merge(streams, Pairs(lambda a, b: a + b).gatherer()) for pair in zip(run.keys, run.values or (), strict=True)]
    assert merged == sorted(sum(map(Counter, counts), Counter()).items())


@pytest.mark.parametrize("budget", [SMALL, Budget()])
def test_lines_are_sorted_whether_they_are_spilled_or_not(budget: Budget) -> None:
    rng = random.Random(2)
    lines = [rng.randbytes(rng.randrange(40)).replace(b"\n", b" ") for _ in range(20_000)]
    collector = Collector(Lines(), budget)
    for at in range(0, len(lines), 500):
        collector.add(lines_run(sorted(lines[at : at + 500])))
    runs = list(collector.runs())
    assert [key for run in runs for key in run.keys] == sorted(lines)
    assert (collector.spilled_bytes > 0) == (budget is SMALL)
    assert all(run.nbytes <= max(budget.gather_bytes, FAN_IN * budget.merge_bytes) for run in runs)
    assert list(collector.runs()) == []


def test_runs_beyond_the_fan_in_are_merged_in_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedproxy.patterns.shuffle.collector.FAN_IN", 3)
    lines = [b"%08d" % (number * 7919 % 30_011) for number in range(30_011)]
    collector = Collector(Lines(), SMALL)
    for at in range(0, len(lines), 100):
        collector.add(lines_run(lines[at : at + 100]))
    assert [key for run in collector.runs() for key in run.keys] == sorted(lines)
    assert collector.spilled_bytes > 2 * 9 * len(lines)


def test_counts_are_exact_when_they_are_spilled() -> None:
    rng = random.Random(3)
    collector, want = Collector(Counts(), SMALL), Counter[bytes]()
    for _ in range(40):
        found = Counter(b"w%d" % rng.randrange(5000) for _ in range(1000))
        want += found
        collector.add(Run(list(found), list(found.values()), 250 * len(found)))
    got = [pair for run in collector.runs() for pair in zip(run.keys, run.values or (), strict=True)]
    assert collector.spilled_bytes
    assert got == sorted(want.items())


@pytest.mark.parametrize("budget", [SMALL, Budget()])
@pytest.mark.parametrize("partitioner", [ByRange((b"3", b"6")), ByHash(3)])
def test_a_block_holds_every_record_in_its_segment(budget: Budget, partitioner: ByRange | ByHash) -> None:
    rng = random.Random(4)
    lines = [b"%d" % rng.randrange(10**6) for _ in range(15_000)]
    builder = BlockBuilder(Lines(), partitioner, budget, compress=True)
    for at in range(0, len(lines), 300):
        builder.add(lines_run(lines[at : at + 300]))
    segments = builder.segments()
    assert len(segments) == 3
    assert builder.records == len(lines)
    for number, segment in enumerate(segments):
        chunks = list(decode_chunks(b"".join(segment)))
        assert chunks[0].new_run
        assert (sum(chunk.new_run for chunk in chunks) > 1) == (budget is SMALL)
        keys = [key for chunk in chunks for key in Lines().decode(chunk.raw).keys]
        assert sorted(keys) == sorted(partitioner.cut(Run(sorted(lines)))[number].keys)
        for chunk in chunks:
            assert all(one <= other for one, other in pairwise(Lines().decode(chunk.raw).keys))


def test_odd_lines_survive() -> None:
    lines = [b"", b"", b"\r", b"\xff\xfe", b"x" * 300_000, b" "]
    run = lines_run(lines)
    assert Lines().decode(Lines().encode(run)).keys == lines
    assert Lines().encode(Run([])) == b""
    assert Lines().decode(b"").keys == []
    assert Counts().decode(Counts().encode(Run([], []))).keys == []
    assert Counts().decode(Counts().encode(Run([b""], [2]))).keys == [b""]
