"""A task's memory stays within its bound, however much data there is."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.patterns import mapreduce
from fedproxy.patterns.mapreduce import Options

BOUND = 16 * 1024 * 1024

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def sort(client: Client, source: Path, output: Path) -> mapreduce.Result:
    options = Options(memory_bytes=BOUND, reduces=1, timeout_s=200)
    return mapreduce.run(mapreduce.sorted_lines(), str(source), client=client, store="file", output=str(output), options=options)


def test_sorting_ten_times_the_bound_in_one_reducer_stays_within_it(client: Client, tmp_path: Path) -> None:
    rng = random.Random(8)
    small, large = tmp_path / "small.txt", tmp_path / "large.txt"
    small.write_bytes(b"b\na\n")
    with large.open("wb") as file:
        for _ in range(1600):
            file.write(b"".join(rng.randbytes(50).hex().encode() + b"\n" for _ in range(1100)))
    assert large.stat().st_size > 10 * BOUND
    idle = sort(client, small, tmp_path / "one").peak_rss_bytes
    result = sort(client, large, tmp_path / "two")
    assert result.peak_rss_bytes - idle < BOUND
    assert result.moved.spilled > 0.9 * large.stat().st_size
    lines = Path(result.urls[0].removeprefix("file://")).read_bytes().split(b"\n")[:-1]
    assert len(lines) == 1600 * 1100
    assert all(one <= other for one, other in pairwise(lines))
