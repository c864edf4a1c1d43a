"""Segments come back whole from every kind of store, and what is gone is named."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.config.home import host_id
from fedproxy.errors import SegmentsLostError, StoreFullError
from fedproxy.patterns.shuffle import reader
from fedproxy.patterns.shuffle.chunks import encode_chunk
from fedproxy.patterns.shuffle.manifest import BLOCK, OBJECTS, Manifest, Source, block_key
from fedproxy.patterns.shuffle.reader import Account, Wanted, batches, segments
from fedproxy.patterns.shuffle.writer import Place, Target, write
from fedproxy.store import Store

MAPS, REDUCES = 7, 5


@pytest.fixture(params=["memory", "file", "shm"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    name = secrets.token_hex(4)
    made = {"memory": f"memory://{name}", "file": f"file://{tmp_path / 'store'}", "shm": f"shm://{host_id()}/test-{name}"}[request.param]
    with Store.from_url(made):
        yield made
        Store.from_url(made).close(clear=True)


def text(index: int, reducer: int) -> bytes:
    """Some pairs of map and reducer have nothing."""
    return b"" if (index + reducer) % 4 == 0 else b"map %d for %d " % (index, reducer) * 2000


def written(url: str, layout: str = BLOCK) -> Manifest:
    target = Target([url], "here", 600.0, layout)
    sources = []
    for index in range(MAPS):
        blocks = [encode_chunk(data, compress=True, new_run=True) if (data := text(index, reducer)) else [] for reducer in range(REDUCES)]
        sources.append(write(blocks, Place(block_key("job", "m", index, 2), index, 2), target))
    return Manifest("job", sources)


@pytest.mark.parametrize("layout", [BLOCK, OBJECTS])
@pytest.mark.parametrize("batch_bytes", [1, 1000, 10**6])
def test_each_reducer_gets_its_segments_of_all_maps(url: str, layout: str, batch_bytes: int) -> None:
    manifest = written(url, layout)
    for reducer in range(REDUCES):
        account = Account()
        found = {source.index: bytes(chunks[0].raw) for source, chunks in segments(Wanted(manifest, reducer, reducer + 1, REDUCES, batch_bytes), account)}
        assert found == {index: text(index, reducer) for index in range(MAPS) if text(index, reducer)}
        assert account.nbytes == account.from_site["here"] == sum(source.sizes()[reducer] for source in manifest.sources)


def test_a_segment_larger_than_a_batch_is_read_in_parts_and_comes_whole(url: str) -> None:
    texts = [b"".join(b"%d %d\n" % (index, number) for number in range(60_000)) for index in range(3)]
    sources = []
    for index, data in enumerate(texts):
        chunks = [part for at in range(0, len(data), 100_000) for part in encode_chunk(data[at : at + 100_000], compress=False, new_run=at == 0)]
        sources.append(write([[], chunks, []], Place(block_key("large", "m", index, 0), index, 0), Target([url], "here", 600.0)))
    wanted = Wanted(Manifest("large", sources), 1, 2, 3, 1)
    assert max(span[2] for batch in batches(wanted) for _, span in batch) == reader.LEAST_PART_BYTES
    found = [b"", b"", b""]
    for source, parts in segments(wanted, Account()):
        found[source.index] += b"".join(bytes(chunk.raw) for chunk in parts)
    assert found == texts


def test_reducers_begin_at_different_maps() -> None:
    manifest = Manifest("job", [Source(index, 0, "memory://x", "", bytes(8) + b"\1" + bytes(7) + b"\2" + bytes(7)) for index in range(8)])
    first = [batches(Wanted(manifest, reducer, reducer + 1, 2, 10))[0][0][0].index for reducer in range(2)]
    assert first == [0, 4]


@pytest.mark.parametrize("layout", [BLOCK, OBJECTS])
def test_what_is_gone_is_named(url: str, layout: str) -> None:
    manifest = written(url, layout)
    connector = Store.from_url(url).connector
    for index in (2, 5):
        key = block_key("job", "m", index, 2)
        connector.evict(key if layout == BLOCK else f"{key}:0")
    with pytest.raises(SegmentsLostError) as caught:
        list(segments(Wanted(manifest, 0, 1, REDUCES), Account()))
    assert caught.value.sources == (2, 5)
    assert caught.value.store is None


def test_a_damaged_segment_is_named() -> None:
    with Store.from_url(f"memory://{secrets.token_hex(4)}") as store:
        manifest = written(store.url)
        key = block_key("job", "m", 3, 2)
        block = bytearray(store.connector.get(key) or b"")
        block[len(block) // 2] ^= 1
        store.connector.put([block], key=key)
        lost = set()
        for reducer in range(REDUCES):
            try:
                list(segments(Wanted(manifest, reducer, reducer + 1, REDUCES), Account()))
            except SegmentsLostError as exc:
                lost |= set(exc.sources)
        assert lost == {3}


def test_a_reader_that_stops_early_leaves_no_thread(url: str) -> None:
    parts = segments(Wanted(written(url), 1, 2, REDUCES, 1), Account())
    next(parts)
    parts.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "fedproxy-fetch"]


def test_a_full_store_hands_over_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Store.from_url(f"memory://{secrets.token_hex(4)}"), Store.from_url(f"file://{tmp_path / 'second'}")

    def full(*_args: object, **_more: object) -> str:
        raise StoreFullError("no room")

    monkeypatch.setattr(first.connector, "put", full)
    source = write([[b"data"]], Place("key", 0, 0), Target([first.url, second.url], "here", 60.0))
    assert source.store == second.url
    with pytest.raises(StoreFullError):
        write([[b"data"]], Place("key", 0, 0), Target([first.url], "here", 60.0))


def test_segments_larger_than_a_batch_are_fetched_one_by_one() -> None:
    manifest = Manifest("job", [Source(index, 0, "memory://x", "", bytes(8) + (1000 * index).to_bytes(8, "little")) for index in range(5)])
    sizes = [[span[2] for _, span in batch] for batch in batches(Wanted(manifest, 0, 1, 1, 3000))]
    assert sizes == [[1000, 2000], [3000], [4000]]
    assert reader.BATCH_BYTES >= 1 << 20
