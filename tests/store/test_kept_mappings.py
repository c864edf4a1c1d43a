"""What a process keeps of the large objects that it read from shared memory, and what must never come of it."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from fedproxy.store import Store
from fedproxy.store.connectors import shm_mappings
from fedproxy.testing.connectors import eventually

LARGE = 200_000  # float64 values: far above what is worth keeping


@pytest.fixture
def store(urls: dict[str, str]) -> Iterator[Store]:
    made = Store.from_url(urls["shm"])
    yield made
    made.close(clear=True)


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the mappings that are made."""
    sizes: list[int] = []
    make = shm_mappings.Mapping.__init__

    def count(self: shm_mappings.Mapping, descriptor: int, size: int, identity: tuple[int, int]) -> None:
        sizes.append(size)
        make(self, descriptor, size, identity)

    monkeypatch.setattr(shm_mappings.Mapping, "__init__", count)
    return sizes


def can_tell_clean_pages() -> bool:
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    return release >= (6, 7)


@pytest.mark.skipif(not can_tell_clean_pages(), reason="needs Linux 6.7")
def test_readers_one_after_the_other_share_one_mapping(store: Store, mapped: list[int]) -> None:
    ref = store.put(np.full(LARGE, 3.0))
    for _ in range(5):
        assert store.get(ref).sum() == 3.0 * LARGE
    assert len(mapped) == 1


@pytest.mark.skipif(not can_tell_clean_pages(), reason="needs Linux 6.7")
def test_the_next_object_in_the_same_pages_needs_no_new_mapping(store: Store, mapped: list[int]) -> None:
    for value in range(5):
        ref = store.put(np.full(LARGE, float(value)))
        assert store.get(ref).sum() == value * LARGE
        store.evict(ref)
    assert len(mapped) == 1


@pytest.mark.parametrize("place", [0, LARGE // 2, LARGE - 1])
def test_what_one_reader_writes_the_next_does_not_see(store: Store, place: int) -> None:
    ref = store.put(np.full(LARGE, 1.0))
    for attempt in range(4):
        array = store.get(ref)
        assert (array == 1.0).all()
        array[place] = 99.0
        assert array[place] == 99.0
        del array
        if attempt % 2:
            threading.Event().wait(0.05)  # the sweeper looks at it first


def test_what_was_written_in_one_object_is_not_seen_in_the_next_one_there(store: Store) -> None:
    first = store.put(np.full(LARGE, 1.0))
    array = store.get(first)
    array[:] = 7.0
    del array
    store.evict(first)
    second = store.put(np.full(LARGE, 2.0))
    assert (store.get(second) == 2.0).all()


def test_readers_at_the_same_time_have_mappings_of_their_own(store: Store) -> None:
    ref = store.put(np.full(LARGE, 1.0))
    one, other = store.get(ref), store.get(ref)
    one[5] = 8.0
    assert (one[5], other[5]) == (8.0, 1.0)


def test_a_piece_of_an_array_keeps_the_whole_from_being_lent(store: Store) -> None:
    ref = store.put(np.full(LARGE, 1.0))
    piece = store.get(ref)[10:20]
    store.get(ref)[:] = 5.0
    gc.collect()
    store.evict(ref)
    for value in range(5):
        store.evict(store.put(np.full(LARGE, float(value))))
    assert (piece == 1.0).all()


def test_threads_that_read_and_write_one_object_never_see_each_other(store: Store) -> None:
    ref = store.put(np.full(LARGE, 1.0))
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(40):
            array = store.get(ref)
            if not (array[:: 500] == 1.0).all():
                wrong.append((number, turn))
            if turn % 3 == number % 3:
                array[number * 500 + turn] = -1.0
            del array

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_a_child_keeps_what_it_sees_when_its_parent_lets_go(store: Store) -> None:
    ref = store.put(np.full(LARGE, 1.0))
    array = store.get(ref)
    told, answered = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.read(told[0], 1)
        os.write(answered[1], b"1" if bool((array == 1.0).all()) else b"0")
        os._exit(0)
    try:
        del array
        store.evict(ref)
        for value in range(2, 8):
            store.evict(store.put(np.full(LARGE, float(value))))
        os.write(told[1], b"g")
        assert os.read(answered[0], 1) == b"1"
    finally:
        os.close(told[1])
        os.waitpid(child, 0)
        for descriptor in (told[0], *answered):
            os.close(descriptor)


def test_an_idle_mapping_goes_when_its_object_is_gone(store: Store) -> None:
    before = len(shm_mappings._idle)
    ref = store.put(np.full(LARGE, 1.0))
    assert store.get(ref)[0] == 1.0
    assert len(shm_mappings._idle) == before + 1
    store.close(clear=True)
    assert eventually(lambda: not any(m.is_stale(time.monotonic()) for m in list(shm_mappings._idle)))


def test_an_idle_mapping_is_kept_for_half_a_minute_at_most(store: Store) -> None:
    ref = store.put(np.full(LARGE, 1.0))
    assert store.get(ref)[0] == 1.0
    assert shm_mappings.sweep(time.monotonic() + 31) == 0
    assert store.get(ref)[0] == 1.0


def test_without_a_kernel_that_can_tell_each_reader_maps_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shm_mappings, "_PAGEMAP_SCAN", 0xC0606699)
    ref = store.put(np.full(LARGE, 1.0))
    store.get(ref)[7] = 4.0
    assert (store.get(ref) == 1.0).all()


def test_a_large_copy_by_two_threads_is_whole(store: Store) -> None:
    array = np.arange(5_000_001, dtype=np.float64)
    for _ in range(3):
        ref = store.put(array)
        assert np.array_equal(store.get(ref), array)
        store.evict(ref)
