from __future__ import annotations

import asyncio
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fedproxy.errors import (
    ConfigError,
    DataLostError,
    FrameError,
    MissingExtraError,
    ProxyResolveError,
    SerializationError,
    StoreClosedError,
    StoreUnavailableError,
)
from fedproxy.proxy import Proxy, aresolve, extract, is_resolved, resolve, resolve_async, resolve_batch
from fedproxy.store import Ref, Staged, Store, fetch, get_store, proxy_from_ref, reachable, ref_of
from fedproxy.store.connectors.memory import MemoryConnector
from fedproxy.store.metrics import Metered

OBJECTS = [None, 5, "text", b"bytes", b"x" * 300_000, [1, {"a": (2, 3)}], {1, 2}, np.arange(100_000.0)]


def equal(left: object, right: object) -> bool:
    return type(left) is type(right) and bool(np.all(np.asarray(left == right)))


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: type(obj).__name__)
def test_an_object_comes_back_as_it_was(store: Store, obj: object) -> None:
    ref = store.put(obj)
    assert equal(store.get(ref), obj)
    assert equal(store.get(ref.key), obj)
    assert equal(fetch(Ref.from_bytes(ref.to_bytes())), obj)
    assert equal(pickle.loads(pickle.dumps(Staged(ref))), obj)


def test_each_getter_has_its_own_writable_array(store: Store) -> None:
    ref = store.put(np.zeros(50_000))
    first, second = store.get(ref), store.get(ref)
    first[0] = 1
    assert second[0] == 0
    assert store.get(ref)[0] == 0


def test_a_batch_comes_back_in_order(store: Store) -> None:
    refs = store.put_batch(OBJECTS * 20)
    assert all(map(equal, store.get_batch(refs), OBJECTS * 20))
    assert all(map(equal, store.get_batch(list(refs)), OBJECTS * 20))
    assert equal(store.get(refs[5]), OBJECTS[5])
    assert all(store.exists_batch(refs))
    store.evict_batch(refs[:3])
    assert store.exists_batch(refs[:4]) == [False] * 3 + [True]
    found = store.get_batch(refs[2:4], errors="return")
    assert isinstance(found[0], DataLostError)
    assert found[1] == b"bytes"
    with pytest.raises(DataLostError):
        store.get_batch(refs)


def test_a_missing_object_is_a_typed_error_that_says_where(store: Store) -> None:
    ref = store.put([1])
    store.evict(ref)
    with pytest.raises(DataLostError, match=ref.key) as caught:
        store.get(ref)
    assert caught.value.store == store.url
    assert caught.value.hint
    assert store.get(ref, default=7) == 7
    with pytest.raises(ProxyResolveError, match="put it again"):
        resolve(proxy_from_ref(ref))


def test_a_proxy_travels_in_under_200_bytes_and_resolves_there(store: Store) -> None:
    proxy = store.proxy(np.arange(10.0))
    data = pickle.dumps(proxy)
    assert not is_resolved(proxy)
    arrived = pickle.loads(data)
    assert isinstance(arrived, np.ndarray)
    assert not is_resolved(arrived)
    assert arrived.sum() == 45
    if not store.url.startswith("file"):
        assert len(data) <= 200
        assert len(pickle.dumps(store.proxy_batch([1] * 100))) <= 150 * 100


def test_a_proxy_that_evicts_leaves_nothing(store: Store) -> None:
    proxy = store.proxy([1, 2], evict=True)
    ref = ref_of(proxy)
    assert ref is not None
    assert pickle.loads(pickle.dumps(proxy)) == [1, 2]
    assert not store.exists(ref)


def test_many_proxies_resolve_in_one_batch(store: Store) -> None:
    proxies = store.proxy_batch([[index] for index in range(50)])
    resolve_batch(proxies)
    assert all(map(is_resolved, proxies))
    assert extract(proxies[7]) == [7]
    lost = store.proxy("x")
    store.evict(lost)
    good = store.proxy("y")
    with pytest.raises(ProxyResolveError):
        resolve_batch([lost, good])
    assert is_resolved(good)


def test_a_proxy_of_a_proxy_is_the_object(store: Store) -> None:
    outer = store.proxy(store.proxy([1, 2, 3]))
    assert type(extract(outer)) is list
    assert outer == [1, 2, 3]


def test_an_object_expires_by_its_ttl(store: Store) -> None:
    ref = store.put(1, ttl=0.2)
    deadline = time.monotonic() + 10
    while store.exists(ref) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    with pytest.raises(DataLostError):
        store.get(ref)


def test_one_configuration_is_one_store_and_another_is_another(store: Store) -> None:
    assert Store.from_url(store.url) is store
    assert Store.from_config(store.config()) is store
    assert get_store(store.url) is store
    assert pickle.loads(pickle.dumps(store)) is store
    joint = "&" if "?" in store.url else "?"
    other = Store.from_url(f"{store.url}{joint}ttl_s=60")
    assert other is not store
    assert other.url != store.url
    assert reachable(store.url)
    other.close()


def test_a_closed_store_says_so(store: Store) -> None:
    ref = store.put(1)
    store.close()
    store.close()
    for call in (lambda: store.put(1), lambda: store.get(ref), lambda: store.exists(ref), lambda: store.evict(ref)):
        with pytest.raises(StoreClosedError):
            call()
    fresh = Store.from_url(store.url)
    assert fresh is not store
    fresh.close(clear=True)


def test_an_unpicklable_object_leaves_the_store_usable(store: Store) -> None:
    with pytest.raises(SerializationError, match="lock"):
        store.put({"a": threading.Lock()})
    assert store.get(store.put(1)) == 1


def test_bytes_that_are_not_ours_are_an_error_never_a_value(store: Store) -> None:
    for foreign in (b"", b"garbage", b"\xf6FP", b"x" * 100_000):
        key = store.connector.put([foreign])
        with pytest.raises(FrameError, match=key):
            store.get(key)
    ref, other = store.put([1]), store.put([2])
    store.connector.put([bytes(store.connector.get(other.key) or b"")], key=ref.key)
    with pytest.raises(FrameError, match="another one"):
        store.get(ref)


def test_every_flipped_bit_in_a_file_is_noticed(urls: dict[str, str], tmp_path: Path) -> None:
    with Store.from_url(urls["file"]) as store:
        for obj in ([1, 2, 3], np.arange(30_000.0)):
            ref = store.put(obj)
            path = tmp_path / "objects" / ref.key
            good = path.read_bytes()
            for place in [*range(0, min(len(good), 200)), len(good) // 2, len(good) - 1]:
                path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
                if not _is_padding(place, obj):
                    with pytest.raises(FrameError):
                        store.get(ref)
                store._cache.clear()
            path.write_bytes(good[:-1])
            with pytest.raises(FrameError):
                store.get(ref)
            path.write_bytes(good)
            store._cache.clear()
            assert equal(store.get(ref), obj)


def _is_padding(place: int, obj: object) -> bool:
    return isinstance(obj, np.ndarray) and (80 <= place < 128 or 128 < place < 200_000)  # between segments, or pickle


class SlowConnector(MemoryConnector):
    in_memory = False
    reads = 0

    def get(self, key: str) -> bytes | None:  # type: ignore[override]
        self.reads += 1
        threading.Event().wait(0.05)
        return super().get(key)  # type: ignore[return-value]


class MeetingConnector(MemoryConnector):
    """No read ends before four are under way."""

    in_memory = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.meeting = threading.Barrier(4)

    def get(self, key: str) -> bytes | None:  # type: ignore[override]
        self.meeting.wait(10)
        return super().get(key)  # type: ignore[return-value]


def test_four_threads_read_four_keys_at_once(namespace: str) -> None:
    store = Store(MeetingConnector(namespace))
    refs = [store.put([index]) for index in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(store.get, refs)) == [[0], [1], [2], [3]]
    store.close(clear=True)


def test_many_threads_with_one_key_read_once_and_share_nothing(namespace: str) -> None:
    connector = SlowConnector(namespace)
    store = Store(connector)
    ref = store.put(np.zeros(10))
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(store.get(ref))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert connector.reads == 1
    found[0][0] = 1
    assert [array[0] for array in found[1:]] == [0] * 7
    assert store.is_cached(ref)
    assert store.get(ref)[0] == 0
    assert connector.reads == 1
    store.close(clear=True)


def test_the_cache_is_bounded_in_bytes(namespace: str) -> None:
    store = Store.from_url(f"memory://{namespace}")
    from fedproxy.store.cache import FrameCache

    cache = FrameCache(16_000)
    for index in range(100):
        cache.offer(str(index), memoryview(bytes(1_000)))
    assert cache.nbytes <= 16_000
    assert "99" in cache
    assert "0" not in cache
    cache.offer("large", memoryview(bytes(2_000)))
    assert "large" not in cache
    store.close(clear=True)


def test_prefetched_objects_are_cached(urls: dict[str, str]) -> None:
    with Store.from_url(urls["file"]) as store:
        refs = store.put_batch(range(5))
        assert not store.is_cached(refs[0])
        store.prefetch([*refs, "not-there"])
        assert all(store.is_cached(ref) for ref in refs)


def test_a_store_works_from_asyncio(store: Store) -> None:
    async def work() -> None:
        ref = await store.aio.put([1, 2])
        assert await store.aio.get(ref) == [1, 2]
        assert await store.aio.exists(ref)
        assert await aresolve(await store.aio.proxy({"a": 1})) == {"a": 1}
        refs = await store.aio.put_batch([1, 2])
        assert await store.aio.get_batch(refs) == [1, 2]
        await store.aio.evict_batch(refs)
        await store.aio.evict(ref)
        assert not await store.aio.exists(ref)

    asyncio.run(work())


def test_a_proxy_resolves_in_the_background(store: Store) -> None:
    proxy = store.proxy([5])
    resolve_async(proxy).result(10)
    assert is_resolved(proxy)


def test_signed_objects_are_accepted_with_the_key_only(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"memory://{namespace}?signed=1"
    monkeypatch.delenv("FEDPROXY_SITE_KEY", raising=False)
    with pytest.raises(ConfigError, match="site key"):
        Store.from_url(url)
    monkeypatch.setenv("FEDPROXY_SITE_KEY", "a" * 32)
    store = Store.from_url(url)
    refs = [store.put(obj) for obj in ([1], np.arange(50_000))]
    assert store.get(refs[0]) == [1]
    assert store.get(refs[1])[7] == 7
    plain = Store.from_url(f"memory://{namespace}")
    with pytest.raises(FrameError, match="not signed"):
        store.get(plain.put([2]).key)
    data = bytearray(store.connector.get(refs[1].key) or b"")
    data[-1] ^= 1
    store.connector.put([data], key=refs[1].key)
    with pytest.raises(FrameError, match="signature"):
        store.get(refs[1])
    store.close()
    monkeypatch.setenv("FEDPROXY_SITE_KEY", "b" * 32)
    with pytest.raises(FrameError, match="another site key"):
        Store.from_url(url).get(refs[0])
    Store.from_url(url).close()
    plain.close(clear=True)


def test_compressible_objects_are_compressed_where_that_is_asked_for(urls: dict[str, str]) -> None:
    with Store.from_url(urls["file"] + "?compress=lz4") as store:
        smooth = np.zeros(1_000_000)
        noise = np.random.default_rng(1).integers(0, 255, 1_000_000, dtype=np.uint8)
        small, large = store.put(smooth), store.put(noise)
        assert small.size < 100_000
        assert large.size > 1_000_000
        assert (store.get(small) == smooth).all()
        store.get(small)[0] = 1
        assert (store.get(large) == noise).all()


def test_wrong_urls_are_configuration_errors(tmp_path: Path) -> None:
    for url in ("nonsense", "shm://nowhere", "file://relative/x", "memory://", "memory://x?lease=3", "file:///x?ttl_s=a"):
        with pytest.raises(ConfigError):
            Store.from_url(url)
    with pytest.raises(StoreUnavailableError, match="another machine"):
        Store.from_url("shm://0123456789ab/x")
    assert not reachable("shm://0123456789ab/x")
    assert not reachable("memory://never-made")
    assert not reachable(f"file://{tmp_path}/absent")
    assert not reachable("nonsense")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from fedproxy.store.connectors.registry import FACTORIES

    monkeypatch.setitem(FACTORIES, "exotic", "not_installed_anywhere:connect")
    with pytest.raises(MissingExtraError, match="pip install"):
        Store.from_url("exotic://x")
    proxy = proxy_from_ref(Ref("exotic://x", "key", 1))
    with pytest.raises(ProxyResolveError, match="pip install"):
        len(proxy)
    assert "not_installed_anywhere" not in sys.modules


def test_a_metered_connector_counts_and_keeps_its_powers(namespace: str) -> None:
    metered = Metered(MemoryConnector(namespace))
    store = Store(metered)
    ref = store.put("x" * 1000)
    store.get(ref)
    store.get_batch(store.put_batch([1, 2]))
    stats = metered.stats()
    assert stats["put"].calls == stats["get"].calls == stats["put_batch"].calls == 1
    assert stats["get"].nbytes == ref.size
    store.close(clear=True)


def test_a_proxy_can_be_used_where_its_type_is_expected(store: Store) -> None:
    def length(values: list[int]) -> int:
        return len(values)

    proxy: Proxy[list[int]] = store.proxy([1, 2, 3])
    assert length(proxy) == 3
