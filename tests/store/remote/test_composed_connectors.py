"""Tiers, node caches, ProxyStore and S3: what each adds to the common contract."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from fedproxy.errors import ConfigError, MissingExtraError, StoreError, StoreFullError, StoreUnavailableError
from fedproxy.store import Store
from fedproxy.store.connectors.base import Buffer, Parts
from fedproxy.store.connectors.fsspec import connect as connect_fsspec
from fedproxy.store.connectors.memory import connect as connect_memory
from fedproxy.store.connectors.multi import Asked, MultiConnector, Rule, choose, make_url, parse_url, placing
from fedproxy.store.connectors.node_cache import NodeCacheConnector
from fedproxy.store.connectors.proxystore import ConnectorForProxyStore, ProxyStoreConnector
from fedproxy.store.connectors.registry import connector_from_url
from fedproxy.testing import servers
from fedproxy.testing.servers import Server

SMALL, TYPED, TAGGED, ANY = Rule(max_bytes=10), Rule(types=frozenset({"numpy.ndarray"})), Rule(tags=frozenset({"t"})), Rule()


@pytest.mark.parametrize(("asked", "reachable", "chosen"), [
    (Asked(5), [True] * 4, [0, 2, 3]),
    (Asked(50), [True] * 4, [2, 3]),
    (Asked(50, "numpy.ndarray"), [True] * 4, [1, 2, 3]),
    (Asked(5, tags=frozenset({"t"})), [True] * 4, [2]),
    (Asked(5), [False, True, False, True], [3]),
    (Asked(5, tags=frozenset({"unknown"})), [True] * 4, []),
])
def test_an_object_goes_to_the_first_tier_that_takes_it(
    asked: Asked, reachable: Sequence[bool], chosen: list[int]
) -> None:
    assert choose([SMALL, TYPED, TAGGED, ANY], asked, reachable) == chosen


def test_the_rules_of_tiers_travel_in_the_url() -> None:
    tiers = [("memory://a?x=1&y=2", SMALL), ("file:///b c", TAGGED), ("memory://d", TYPED)]
    assert parse_url(make_url("name", tiers)) == ("name", tiers)


@pytest.mark.parametrize("url", ["multi://x", "multi://x?1=memory://a&1.nonsense=1", "multi://x?1=memory://a&1.max_bytes=x"])
def test_tiers_that_are_not_understood_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        connector_from_url(url)


class Broken:
    """A tier that is full or gone."""

    url, in_memory = "broken://", False

    def __init__(self, error: StoreError) -> None:
        self.error = error

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        raise self.error

    def get(self, key: str) -> Buffer | None:
        raise self.error

    def exists(self, key: str) -> bool:
        raise self.error

    def evict(self, key: str) -> None:
        raise self.error

    def close(self, *, clear: bool = False) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("error", [StoreFullError("full"), StoreUnavailableError("gone")])
def test_a_tier_that_is_full_or_gone_hands_on(error: StoreError) -> None:
    with closing(MultiConnector("x", [(Broken(error), ANY), (connect_memory("memory://spill"), ANY)])) as made:
        key = made.put([b"x"])
        assert key.startswith("1~")
        assert made.get(key) == b"x"


def test_an_object_that_no_tier_takes_is_an_error_that_says_what_was_asked() -> None:
    with closing(MultiConnector("x", [(connect_memory("memory://tags"), SMALL)])) as made:
        with pytest.raises(StoreError, match="no tier"):
            made.put([b"x" * 11])
        with placing(tags=["scratch"]), pytest.raises(StoreError, match="scratch"):
            made.put([b"x"])


# one copy per node


class Counting:
    """A slow memory store that counts what is fetched."""

    def __init__(self, name: str) -> None:
        self.inner = connect_memory(f"memory://{name}")
        self.url, self.in_memory = self.inner.url, False
        self.fetched = 0

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        return self.inner.put(parts, key=key, ttl_s=ttl_s)

    def get(self, key: str) -> Buffer | None:
        self.fetched += 1
        threading.Event().wait(0.05)
        return self.inner.get(key)

    def exists(self, key: str) -> bool:
        return self.inner.exists(key)

    def evict(self, key: str) -> None:
        self.inner.evict(key)

    def close(self, *, clear: bool = False) -> None:
        self.inner.close(clear=clear)


def test_many_threads_fetch_an_object_once(tmp_path: Path) -> None:
    store = Counting("once")
    with closing(NodeCacheConnector(store, connector_from_url(f"file://{tmp_path}/cache"), min_bytes=1)) as made:
        key = made.put([b"x" * 100_000])
        got: list[bytes] = []
        threads = [threading.Thread(target=lambda: got.append(bytes(made.get(key) or b""))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert got == [b"x" * 100_000] * 8
        assert store.fetched == 1


FETCH = """
import sys
from fedproxy.store.connectors.registry import connector_from_url
made = connector_from_url(sys.argv[1])
assert bytes(made.get(sys.argv[2])) == b"y" * 3_000_000
made.close()
"""


def test_many_processes_fetch_an_object_once(tmp_path: Path, redis_server: Server) -> None:
    remote = f"{redis_server.url}?prefix=node:&chunk_above_bytes=10000000"
    cache = quote(f"file://{tmp_path}/cache", safe="")
    with closing(connector_from_url(f"nodecache://?store={quote(remote, safe='')}&cache={cache}")) as made:
        key = made.put([b"y" * 3_000_000])
        with redis_server.client() as client:
            client.config_resetstat()
            running = [subprocess.Popen([sys.executable, "-c", FETCH, made.url, key]) for _ in range(4)]
            assert [process.wait(30) for process in running] == [0] * 4
            assert client.info("commandstats")["cmdstat_get"]["calls"] == 1
        made.evict(key)


def test_a_full_cache_is_no_hindrance() -> None:
    with closing(NodeCacheConnector(Counting("full"), Broken(StoreFullError("full")), min_bytes=1)) as made:
        assert made.get(made.put([b"x"])) == b"x"


def test_a_replaced_object_is_seen_at_once_on_this_node(tmp_path: Path) -> None:
    cache = connector_from_url(f"file://{tmp_path}/cache")
    with closing(NodeCacheConnector(connect_memory("memory://replaced"), cache, min_bytes=1)) as made:
        made.put([b"one"], key="name")
        assert bytes(made.get("name") or b"") == b"one"
        made.put([b"two"], key="name")
        assert bytes(made.get("name") or b"") == b"two"


# ProxyStore, both ways


@pytest.fixture
def theirs(redis_server: Server) -> Iterator[str]:
    yield f"{redis_server.url}?prefix=theirs:"
    connector_from_url(f"{redis_server.url}?prefix=theirs:").close(clear=True)


def test_proxystore_runs_on_our_redis(theirs: str) -> None:
    from proxystore.proxy import Proxy, is_resolved
    from proxystore.store import Store as TheirStore

    with TheirStore("ours-below", ConnectorForProxyStore(theirs)) as store:
        value = {"a": list(range(100_000))}
        proxy: Proxy[dict[str, list[int]]] = store.proxy(value)
        again = pickle.loads(pickle.dumps(proxy))
        assert not is_resolved(again)
        assert again == value
        keys = store.put_batch([1, 2, 3])
        assert [store.get(key) for key in keys] == [1, 2, 3]
        store.evict(keys[0])
        assert store.get(keys[0]) is None
        assert not store.exists(keys[0])
        future = store.future()
        future.set_result("done")
        assert future.result() == "done"
        assert TheirStore.from_config(store.config()).get(keys[1]) == 2


def test_our_store_runs_on_a_proxystore_connector(tmp_path: Path) -> None:
    config = quote(json.dumps({"store_dir": str(tmp_path / "theirs")}))
    with Store.from_url(f"proxystore://proxystore.connectors.file:FileConnector?config={config}") as store:
        proxy = store.proxy([1, 2, 3])
        assert pickle.loads(pickle.dumps(proxy)) == [1, 2, 3]


def test_proxystore_connectors_that_choose_their_keys_are_usable(tmp_path: Path) -> None:
    from proxystore.connectors.file import FileConnector
    from proxystore.connectors.multi import MultiConnector as Theirs
    from proxystore.connectors.multi import Policy

    several = Theirs({"only": (FileConnector(str(tmp_path / "several")), Policy())})
    with closing(ProxyStoreConnector(several)) as made:
        key = made.put([b"x"])
        assert made.get(key) == b"x"
        made.evict(key)
        assert made.get(key) is None
        assert made.get("no-key-of-theirs") is None


@pytest.mark.parametrize("url", ["proxystore://os:system?config={}", "proxystore://json?config={}"])
def test_what_is_no_proxystore_connector_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not a ProxyStore connector"):
        connector_from_url(url)


def test_a_proxystore_connector_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match=r"proxystore:// stores need nosuch \(pip install nosuch\)"):
        connector_from_url("proxystore://nosuch.module:Connector")


def test_a_proxystore_connector_that_fails_is_an_error_of_ours() -> None:
    config = quote(json.dumps({"hostname": "127.0.0.1", "port": servers.free_port()}))
    url = f"proxystore://proxystore.connectors.redis:RedisConnector?config={config}"
    with closing(connector_from_url(url)) as made, pytest.raises(StoreUnavailableError):
        made.put([b"x"])


# S3 and its like


def test_a_large_object_is_read_in_parallel_ranges(s3_endpoint: str) -> None:
    url = f"s3://bucket/ranges?endpoint_url={s3_endpoint}&range_bytes=1000000&parallel=4"
    with closing(connect_fsspec(url)) as made:
        data = os.urandom(12_345_678)
        assert bytes(made.get(made.put([data[:5], data[5:]])) or b"") == data
        made.close(clear=True)


def test_a_bucket_that_is_not_there_and_a_dead_server_are_errors(s3_endpoint: str) -> None:
    with closing(connect_fsspec(f"s3://no-such-bucket/x?endpoint_url={s3_endpoint}")) as made, pytest.raises(StoreUnavailableError):
        made.put([b"x"])
    with closing(connect_fsspec(f"s3://bucket/x?endpoint_url=http://127.0.0.1:{servers.free_port()}")) as made:
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            made.get("key")
        assert not made.reachable()
        assert time.monotonic() - start < 15


def test_secrets_and_unknown_places_are_refused() -> None:
    with pytest.raises(ConfigError, match="no secrets"):
        connect_fsspec("s3://bucket/x?secret=abc")
    with pytest.raises(StoreUnavailableError, match="does not know"):
        connect_fsspec("nosuchthing://place")
    with pytest.raises(MissingExtraError, match="pip install"):
        connect_fsspec("gs://bucket/x")


# what a store says to its tiers


def test_a_store_tells_its_tiers_type_and_tags(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    arrays, scratch, rest = (connect_memory(f"memory://tiers-{tmp_path.name}-{name}") for name in ("arrays", "scratch", "rest"))
    tiers = [(arrays, TYPED), (scratch, Rule(types=frozenset({"bytes"}), tags=frozenset({"scratch"}))), (rest, Rule(tags=frozenset({"scratch"})))]
    with Store(MultiConnector("told", tiers)) as store:
        array = store.put(numpy.arange(5))
        plain, brief, other = store.put("text"), store.put(b"x", tags=["scratch"]), store.put(7, tags=["scratch"])
        proxy = store.proxy(numpy.ones(3))
        many = store.put_batch([numpy.zeros(2), b"y", "z"], tags=["scratch"])
        tiered = [ref.key[0] for ref in (array, plain, brief, other)]
        assert tiered == ["0", "2", "1", "2"]
        assert proxy.__fp_factory__.ref.key[0] == "0"  # type: ignore[attr-defined]
        assert [ref.key[0] for ref in many] == ["2", "1", "2"]
        assert store.get_batch(many)[1:] == [b"y", "z"]
        with pytest.raises(StoreError, match="no tier"):
            store.put(b"x", tags=["unknown"])
        store.close(clear=True)
