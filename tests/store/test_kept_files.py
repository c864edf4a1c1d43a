"""Files that are kept open between readings of parts, and what must never come of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from fedproxy.store.connectors import file as files
from fedproxy.store.connectors import kept_files, shm
from fedproxy.store.connectors.file import FileConnector
from fedproxy.store.connectors.shm import ShmConnector
from fedproxy.testing.connectors import eventually

AnyConnector = ShmConnector | FileConnector
Pair = tuple[AnyConnector, AnyConnector]
OLD, NEW = b"old" * 100_000, b"new" * 100_000  # large enough for segments that are used again


@pytest.fixture(params=["shm", "file"])
def pair(request: pytest.FixtureRequest, urls: dict[str, str]) -> Iterator[Pair]:
    """Two processes' ends of one store: who writes, and who reads."""
    connect = {"shm": shm.connect, "file": files.connect}[request.param]
    writer, reader = connect(urls[request.param]), connect(urls[request.param])
    yield writer, reader
    reader.close()
    writer.close(clear=True)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def part(reader: AnyConnector, key: str) -> bytes | None:
    (found,) = reader.get_ranges([(key, 30, 9)])
    return None if found is None else bytes(found)


def test_a_file_is_opened_once_for_many_readings(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = pair
    key = writer.put([OLD])
    monkeypatch.setattr(kept_files, "KEEP_S", 60.0)
    assert part(reader, key) == OLD[:9]
    before = descriptors()
    assert [part(reader, key) for _ in range(20)] == [OLD[:9]] * 20
    assert descriptors() == before


def test_what_is_evicted_elsewhere_is_gone_at_once_and_its_successor_is_not_taken_for_it(pair: Pair) -> None:
    writer, reader = pair
    for _ in range(5):
        key = writer.put([OLD])
        assert part(reader, key) == OLD[:9]
        writer.evict(key)
        other = writer.put([NEW])
        assert part(reader, key) is None
        assert part(reader, other) == NEW[:9]
        writer.evict(other)


def test_what_is_replaced_elsewhere_is_read_anew(pair: Pair) -> None:
    writer, reader = pair
    for data in (OLD, NEW, OLD, NEW):
        writer.put([data], key="same")
        assert part(reader, "same") == data[:9]


def test_what_expires_is_gone_in_time(pair: Pair) -> None:
    writer, reader = pair
    key = writer.put([OLD], ttl_s=0.5)
    part(reader, key)
    assert eventually(lambda: part(reader, key) is None, 5.0)


def test_files_are_closed_after_a_moment_and_segments_can_be_used_again(pair: Pair) -> None:
    writer, reader = pair
    before = descriptors()
    keys = [writer.put([OLD]) for _ in range(10)]
    own = descriptors() - before  # segments of the writer
    reader.get_ranges([(key, 0, 9) for key in keys])
    assert descriptors() == before + own + 10
    writer.evict_batch(keys)
    assert eventually(lambda: descriptors() <= before + own)
    assert eventually(lambda: "fedproxy-kept-files" not in {thread.name for thread in threading.enumerate()})


def test_closing_a_store_closes_its_files(urls: dict[str, str]) -> None:
    before = descriptors()
    connector = files.connect(urls["file"])
    assert part(connector, connector.put([OLD])) == OLD[:9]
    connector.close(clear=True)
    assert descriptors() == before
