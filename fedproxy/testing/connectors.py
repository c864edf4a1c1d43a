"""The suite that every connector passes. Third parties run it on theirs::

    from fedproxy.testing.connectors import ConnectorConformance

    class TestMyConnector(ConnectorConformance):
        @pytest.fixture
        def connector(self):
            connector = MyConnector(...)
            yield connector
            connector.close(clear=True)

Optional powers (batches, listing, ...) are tested where the connector has them and skipped where it has not.
"""

# ruff: noqa: D102  the names of the tests are their sentences

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fedproxy.errors import InvalidKeyError, StoreClosedError
from fedproxy.store.connectors.base import (
    Buffer,
    Connector,
    SupportsBatch,
    SupportsList,
    SupportsRange,
    SupportsRanges,
    SupportsTouch,
    SupportsWait,
    new_key,
)
from fedproxy.store.connectors.registry import connector_from_url

SIZES = (0, 1, 100, 4096, 65_535, 65_536, 1_000_003, 9 * 1024 * 1024)
BAD_KEYS = ("", "../escape", "a/b", "/etc/passwd", "nul\0", ".hidden", "..", "x" * 300, "new\nline", "sp ace", "*")


def same(buffer: Buffer | None, data: bytes) -> bool:
    """Whether a connector gave back these bytes."""
    return buffer is not None and bytes(memoryview(buffer).cast("B") if len(buffer) else b"") == data


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    """Whether ``condition`` comes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True


class ConnectorConformance:
    """Subclass it and give a fixture ``connector``: a fresh, empty connector that nobody else uses."""

    @pytest.mark.parametrize("size", SIZES)
    def test_what_was_put_is_got(self, connector: Connector, size: int) -> None:
        data = os.urandom(size)
        assert same(connector.get(connector.put([data])), data)

    def test_parts_of_any_buffer_kind_are_joined(self, connector: Connector) -> None:
        parts: list[Buffer] = [b"one", bytearray(b"two"), memoryview(b"-three-")[1:6], b"", memoryview(bytearray(9_000))]
        assert same(connector.get(connector.put(parts)), b"onetwothree" + bytes(9_000))

    def test_many_parts_are_joined(self, connector: Connector) -> None:
        parts: list[Buffer] = [bytes([index % 251]) * 50 for index in range(3_000)]
        assert same(connector.get(connector.put(parts)), b"".join(parts))

    def test_what_was_put_does_not_change_with_the_source(self, connector: Connector) -> None:
        for size in (10, 200_000):
            source = bytearray(b"a" * size)
            key = connector.put([source])
            source[:] = b"b" * size
            assert same(connector.get(key), b"a" * size)

    def test_what_a_reader_changes_stays_its_own(self, connector: Connector) -> None:
        for size in (10, 200_000):
            key = connector.put([b"a" * size])
            view = memoryview(connector.get(key) or b"")
            if not view.readonly:
                view[0:1] = b"b"
            assert same(connector.get(key), b"a" * size)

    def test_new_keys_are_short_and_all_different(self, connector: Connector) -> None:
        keys = [connector.put([b"x"]) for _ in range(50)]
        assert len(set(keys)) == 50
        assert max(map(len, keys)) <= 22

    def test_a_given_key_is_used_and_replaced(self, connector: Connector) -> None:
        for size in (5, 300_000):
            key = new_key()
            assert connector.put([b"a" * size], key=key) == key
            assert connector.put([b"b" * (size + 1)], key=key) == key
            assert same(connector.get(key), b"b" * (size + 1))

    def test_what_is_not_there_is_none(self, connector: Connector) -> None:
        assert connector.get("nothing-of-this-name") is None
        assert connector.get("aaaaaaaaaaaaaaa.7") is None
        assert not connector.exists("nothing-of-this-name")

    def test_evicting_forgets_and_may_be_repeated(self, connector: Connector) -> None:
        for size in (5, 300_000):
            key = connector.put([b"x" * size])
            assert connector.exists(key)
            connector.evict(key)
            connector.evict(key)
            assert not connector.exists(key)
            assert connector.get(key) is None

    def test_a_reader_keeps_what_is_evicted_and_overwritten(self, connector: Connector) -> None:
        data = os.urandom(500_000)
        key = connector.put([data])
        held = connector.get(key)
        connector.evict(key)
        for _ in range(3):
            connector.put([bytes(500_000)])
        assert same(held, data)

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_a_bad_key_is_refused_everywhere(self, connector: Connector, key: str) -> None:
        for call in (connector.get, connector.exists, connector.evict):
            with pytest.raises(InvalidKeyError):
                call(key)
        with pytest.raises(InvalidKeyError):
            connector.put([b"x"], key=key)

    def test_an_object_expires(self, connector: Connector) -> None:
        key = connector.put([b"x"], ttl_s=1.0)
        large = connector.put([b"x" * 200_000], ttl_s=1.0)
        kept = connector.put([b"x"], ttl_s=600)
        assert connector.exists(key)
        assert same(connector.get(large), b"x" * 200_000)
        assert eventually(lambda: not connector.exists(key) and not connector.exists(large))
        assert connector.get(key) is None
        assert connector.get(large) is None
        assert same(connector.get(kept), b"x")

    def test_threads_do_not_disturb_each_other(self, connector: Connector) -> None:
        failures: list[str] = []

        def work(seed: int) -> None:
            for turn in range(10):
                data = bytes([seed]) * (1 + seed * 30_000 + turn)
                key = connector.put([data])
                if not same(connector.get(key), data):
                    failures.append(f"{seed} {turn}")
                connector.evict(key)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures

    def test_the_url_makes_an_equal_connector(self, connector: Connector) -> None:
        key = connector.put([b"shared"])
        twin = connector_from_url(connector.url)
        try:
            assert twin.url == connector.url
            assert same(twin.get(key), b"shared")
        finally:
            twin.close()

    def test_closing_twice_is_harmless_and_use_afterwards_is_an_error(self, connector: Connector) -> None:
        connector.put([b"x"])
        twin = connector_from_url(connector.url)
        twin.close()
        twin.close()
        with pytest.raises(StoreClosedError):
            twin.get("x")
        with pytest.raises(StoreClosedError):
            twin.put([b"x"])

    def test_clearing_removes_the_objects(self, connector: Connector) -> None:
        keys = [connector.put([b"x" * size]) for size in (1, 200_000)]
        connector_from_url(connector.url).close(clear=True)
        assert not any(_found(connector, key) for key in keys)

    # -- optional powers

    def test_a_batch_is_like_single_calls(self, connector: Connector) -> None:
        batch = _power(connector, SupportsBatch)
        items: list[list[Buffer]] = [[bytes([index % 256]) * (index % 300)] for index in range(1_000)]
        items += [[b"large" * 50_000], [b"in ", bytearray(b"parts")]]
        keys = batch.put_batch(items)
        assert len(set(keys)) == len(items)
        assert max(map(len, keys)) <= 22
        expected = [b"".join(item) for item in items]
        assert all(map(same, batch.get_batch(keys), expected))
        assert all(same(connector.get(keys[index]), expected[index]) for index in (0, 1, 999, 1_000, 1_001))
        assert all(batch.exists_batch(keys))

    def test_a_batch_reads_in_any_order_with_gaps(self, connector: Connector) -> None:
        batch = _power(connector, SupportsBatch)
        keys = batch.put_batch([[b"%d" % index] for index in range(10)])
        single = connector.put([b"single"])
        found = batch.get_batch([keys[7], "not-there", single, keys[2], keys[7]])
        assert found[1] is None
        assert [bytes(item) for item in found if item is not None] == [b"7", b"single", b"2", b"7"]
        assert batch.get_batch([]) == []
        assert batch.put_batch([]) == []

    def test_one_object_of_a_batch_can_be_evicted(self, connector: Connector) -> None:
        batch = _power(connector, SupportsBatch)
        keys = batch.put_batch([[b"%d" % index] for index in range(4)])
        connector.evict(keys[1])
        batch.evict_batch([keys[3], "not-there"])
        assert batch.exists_batch(keys) == [True, False, True, False]
        assert [None if item is None else bytes(item) for item in batch.get_batch(keys)] == [b"0", None, b"2", None]
        batch.evict_batch(keys)
        assert not any(batch.exists_batch(keys))

    def test_a_batch_takes_keys_and_expires(self, connector: Connector) -> None:
        batch = _power(connector, SupportsBatch)
        names = [new_key(), new_key()]
        assert batch.put_batch([[b"a"], [b"b"]], keys=names) == names
        assert [bytes(item or b"") for item in batch.get_batch(names)] == [b"a", b"b"]
        keys = batch.put_batch([[b"a"], [b"b"]], ttl_s=1.0)
        assert eventually(lambda: not any(batch.exists_batch(keys)))

    def test_a_listing_names_what_lives(self, connector: Connector) -> None:
        lister = _power(connector, SupportsList)
        small, large = connector.put([b"abc"]), connector.put([b"x" * 200_000], ttl_s=600)
        gone = connector.put([b"gone"])
        connector.evict(gone)
        found = {entry.key: entry for entry in lister.entries()}
        assert set(found) == {small, large}
        assert found[small].size_bytes == 3
        assert 0 < (found[large].expires_in_s or 0) <= 600

    def test_gc_removes_what_expired_and_nothing_else(self, connector: Connector) -> None:
        lister = _power(connector, SupportsList)
        kept, gone = connector.put([b"kept"]), connector.put([b"gone"], ttl_s=0.5)
        assert eventually(lambda: not connector.exists(gone))
        lister.gc()
        assert [entry.key for entry in lister.entries()] == [kept]
        assert same(connector.get(kept), b"kept")

    def test_touching_changes_when_it_expires(self, connector: Connector) -> None:
        toucher = _power(connector, SupportsTouch)
        for size in (1, 200_000):
            key = connector.put([b"x" * size], ttl_s=600)
            assert toucher.touch(key, 0.5)
            assert eventually(lambda key=key: not connector.exists(key))  # type: ignore[misc]
            assert not toucher.touch(key, 600)
        lasting = connector.put([b"x"], ttl_s=0.5)
        assert toucher.touch(lasting, None)
        threading.Event().wait(0.8)
        assert connector.exists(lasting)

    def test_a_waiter_is_woken_by_a_put(self, connector: Connector) -> None:
        waiter = _power(connector, SupportsWait)
        key = new_key()
        assert not waiter.wait(key, 0.05)
        timer = threading.Timer(0.2, lambda: connector.put([b"x"], key=key))
        timer.start()
        assert waiter.wait(key, 20)
        timer.join(20)
        assert waiter.wait(key, 0)

    def test_a_range_is_part_of_the_object(self, connector: Connector) -> None:
        ranger = _power(connector, SupportsRange)
        data = os.urandom(300_000)
        key = connector.put([data])
        assert same(ranger.get_range(key, 1_000, 250_000), data[1_000:251_000])
        assert same(ranger.get_range(key, 299_990, 500), data[299_990:])
        assert ranger.get_range("not-there", 0, 10) is None

    def test_ranges_of_many_objects_come_in_order(self, connector: Connector) -> None:
        ranger = _power(connector, SupportsRanges)
        small, middle, large, empty = os.urandom(20), os.urandom(300_000), os.urandom(9_000_000), b""
        keys = [connector.put([data]) for data in (small, middle, large, empty)]
        at = dict(zip(keys, (small, middle, large, empty), strict=True))
        spans = [(keys[2], 1_000_000, 2_500_000), (keys[0], 0, 20), (keys[1], 299_990, 500), (keys[1], 17, 0), (keys[2], 0, 10),
                 (keys[2], 8_999_999, 30), (keys[0], 5, 100), (keys[3], 0, 5), (keys[1], 400_000, 5), (keys[1], 0, 300_000)]
        found = ranger.get_ranges([*spans, ("not-there", 0, 10), ("not-there", 0, 100_000)])
        for (key, start, length), part in zip(spans, found[: len(spans)], strict=True):
            assert same(part, at[key][start : start + length])
        assert found[len(spans) :] == [None, None]
        assert ranger.get_ranges([]) == []

    def test_ranges_of_what_was_evicted_or_put_in_a_batch(self, connector: Connector) -> None:
        ranger = _power(connector, SupportsRanges)
        kept, gone = _power(connector, SupportsBatch).put_batch([[b"0123456789"], [b"x"]])
        connector.evict(gone)
        brief = connector.put([b"y" * 100], ttl_s=0.5)
        assert eventually(lambda: not connector.exists(brief))
        found = ranger.get_ranges([(kept, 2, 3), (gone, 0, 1), (brief, 0, 100)])
        assert same(found[0], b"234")
        assert found[1:] == [None, None]


def _power(connector: object, protocol: Any) -> Any:
    if not isinstance(connector, protocol):
        pytest.skip(f"has not the power {protocol.__name__}")
    return connector


def _found(connector: Connector, key: str) -> bool:
    try:
        return connector.exists(key)
    except Exception:  # noqa: BLE001  its folder or space is gone: so is the object
        return False
