"""A segment on its way to its key belongs to nobody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedproxy.store.connectors.shm_arena import Arena
from fedproxy.store.connectors.shm_layout import HEAD_BYTES

SIZE = 200_000


def test_a_segment_that_is_being_published_is_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread collects at the worst moment: just before the key is there."""
    directory = os.open(tmp_path, os.O_RDONLY)
    arena = Arena(directory, "token", 1 << 30)
    segment = arena.create(SIZE, bytes(HEAD_BYTES), [bytes(SIZE)])
    assert segment is not None
    taken: list[object] = []
    link = arena._link

    def collect_then_link(name: str, key: str, replace: bool) -> None:
        taken.append(arena.take(SIZE))
        link(name, key, replace)

    monkeypatch.setattr(arena, "_link", collect_then_link)
    arena.publish(segment, "key", replace=False)
    assert taken == [None]
    assert arena.take(SIZE) is None
    os.unlink(tmp_path / "key")
    assert arena.take(SIZE) is segment
    segment.close()
    os.close(directory)


def test_a_segment_whose_key_is_refused_is_free_again(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    arena = Arena(directory, "token", 1 << 30)
    segment = arena.create(SIZE, bytes(HEAD_BYTES), [bytes(SIZE)])
    assert segment is not None
    (tmp_path / "key").write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        arena.publish(segment, "key", replace=False)
    assert arena.take(SIZE) is segment
    segment.close()
    os.close(directory)
