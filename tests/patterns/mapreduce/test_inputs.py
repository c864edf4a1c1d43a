"""Splits own the lines that begin in them: every line is read once, wherever the cuts fall."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedproxy.errors import ConfigError
from fedproxy.patterns.mapreduce.inputs import InputFile, bundles, find_inputs, plan_splits, read_pieces

BYTES = st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b"\xff"]), max_size=40).map(b"".join)


def lines_of(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def read_lines(files: list[InputFile], maps: int, most_bytes: int, piece_bytes: int) -> list[bytes]:
    found = []
    for split in plan_splits(files, maps, most_bytes=most_bytes):
        for piece in read_pieces(split, piece_bytes):
            assert piece.endswith(b"\n")
            found += lines_of(piece)
    return found


@given(BYTES, st.integers(1, 12), st.sampled_from([1, 3, 1000]), st.sampled_from([1, 2, 5, 100]))
def test_every_line_is_read_once(data: bytes, maps: int, most_bytes: int, piece_bytes: int) -> None:
    url = "memory://inputs/one.txt"
    with fsspec.open(url, "wb") as file:
        file.write(data)
    assert read_lines(find_inputs([url]), maps, most_bytes, piece_bytes) == lines_of(data)


def test_a_long_line_is_one_record_and_its_bytes_are_asked_for_at_most_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    pread = os.pread

    def counting(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal asked
        data = pread(descriptor, length, offset)
        asked += len(data)
        return data

    monkeypatch.setattr(os, "pread", counting)
    path = tmp_path / "long.txt"
    path.write_bytes(b"first\n" + b"x" * 100_000_000 + b"\nlast")
    assert [len(line) for line in read_lines(find_inputs([str(path)]), 20, 8 << 20, 1 << 20)] == [5, 100_000_000, 4]
    assert asked < 2.2 * path.stat().st_size  # once by the split that owns it, once by those that look for a line that begins in them


def test_compressed_files_are_one_split_each(tmp_path: Path) -> None:
    data = b"".join(b"line %d\n" % number for number in range(5000)) + b"no newline"
    (tmp_path / "a.gz").write_bytes(gzip.compress(data))
    (tmp_path / "b.txt").write_bytes(b"plain\r\n")
    (tmp_path / "c.txt").touch()
    (tmp_path / ".hidden").write_bytes(b"not this\n")
    files = find_inputs([str(tmp_path)])
    assert [Path(file.url).name for file in files] == ["a.gz", "b.txt", "c.txt"]
    assert [split.compression for split in plan_splits(files, 10, most_bytes=1000) if split.url.endswith("a.gz")] == ["gzip"]
    assert read_lines(files, 10, 1000, 777) == [*lines_of(data), b"plain\r"]


def test_patterns_and_single_files_are_found(tmp_path: Path) -> None:
    for name in ("1.txt", "2.txt", "3.log"):
        (tmp_path / name).write_bytes(b"x\n")
    assert len(find_inputs([f"{tmp_path}/*.txt"])) == 2
    assert [file.size for file in find_inputs([f"file://{tmp_path}/3.log"])] == [2]
    with pytest.raises(ConfigError, match="no input"):
        find_inputs([f"{tmp_path}/nothing-here*"])


def test_splits_are_about_as_many_and_as_large_as_wanted() -> None:
    files = [InputFile("a", 700), InputFile("b", 300), InputFile("empty", 0)]
    splits = plan_splits(files, 10, most_bytes=10**6)
    assert [split.length for split in splits] == [100] * 10
    assert max(split.length or 0 for split in plan_splits(files, 1, most_bytes=64)) <= 64
    assert plan_splits([InputFile("empty", 0)], 3, most_bytes=10) == []


def test_many_small_files_are_read_by_few_maps() -> None:
    files = [InputFile(f"f{number}", 10) for number in range(1000)] + [InputFile("large", 10_000)]
    splits = plan_splits(files, 8, most_bytes=10**6)
    found = bundles(splits, files, 8, most_bytes=10**6)
    assert [split for bundle in found for split in bundle] == splits
    assert len(found) == 8
    assert max(sum(split.length or 0 for split in bundle) for bundle in found) <= 2500
