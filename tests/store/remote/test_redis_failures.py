"""What goes wrong with a real Redis is a typed error with a hint, and the store is usable when the server is."""

from __future__ import annotations

import os
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve

from fedproxy.errors import ConfigError, StoreError, StoreFullError, StoreUnavailableError
from fedproxy.store.connectors.redis import RedisConnector, connect
from fedproxy.store.connectors.registry import connector_from_url
from fedproxy.store.registry import get_store, reachable
from fedproxy.testing import servers
from fedproxy.testing.servers import PASSWORD, Server, cluster_url


@pytest.fixture
def connector(lonely: Server) -> Iterator[RedisConnector]:
    made = connect(lonely.url)
    yield made
    made.close()


def refused(url: str) -> StoreUnavailableError:
    """The error of a store that cannot be used."""
    with closing(connect(url)) as made, pytest.raises(StoreUnavailableError) as caught:
        made.put([b"x"])
    return caught.value


def test_a_wrong_password_is_an_error_that_says_what_to_set(redis_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPROXY_REDIS_PASSWORD", "not this one")
    error = refused(redis_server.url)
    assert "FEDPROXY_REDIS_PASSWORD" in str(error)
    assert "not this one" not in str(error)


def test_no_password_is_an_error_that_says_what_to_set(redis_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDPROXY_REDIS_PASSWORD")
    assert "FEDPROXY_REDIS_PASSWORD" in str(refused(redis_server.url))


def test_a_dead_server_is_an_error_within_five_seconds() -> None:
    start = time.monotonic()
    assert "running" in str(refused(f"redis://127.0.0.1:{servers.free_port()}"))
    assert time.monotonic() - start < 5


def test_a_server_that_does_not_answer_is_no_store_of_this_process_however_often_one_asks() -> None:
    url = f"redis://127.0.0.1:{servers.free_port()}"
    assert not reachable(url)
    assert get_store(url) is None
    assert not reachable(url)


def test_another_kind_of_server_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with closing(listener.accept()[0]) as peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert "does not speak Redis" in str(refused(f"redis://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join(10)


def test_plain_text_to_a_tls_server_is_an_error(redis_tls: Server) -> None:
    assert refused(f"redis://127.0.0.1:{redis_tls.port}").hint


def test_a_certificate_of_an_unknown_authority_is_refused(redis_tls: Server) -> None:
    assert "certificate" in str(refused(f"rediss://127.0.0.1:{redis_tls.port}")).lower()


def test_a_silent_server_is_an_error_within_its_time(lonely: Server) -> None:
    with closing(connect(f"{lonely.url}?timeout_s=0.5&connect_timeout_s=0.5")) as made:
        key = made.put([b"x"])
        lonely.pause()
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="did not answer"):
            made.get(key)
        assert time.monotonic() - start < 5
        lonely.resume()
        assert made.get(key) == b"x"


def test_the_store_works_again_when_the_server_is_back(lonely: Server, connector: RedisConnector) -> None:
    connector.put([b"x"])
    lonely.kill()
    with pytest.raises(StoreUnavailableError):
        connector.put([b"x"])
    lonely.start()
    assert connector.get(connector.put([b"y"])) == b"y"


def test_a_kept_connection_that_died_is_not_noticed(lonely: Server, connector: RedisConnector) -> None:
    connector.put([b"x"])
    lonely.kill()
    lonely.start()
    assert connector.get(connector.put([b"y" * 100_000])) == b"y" * 100_000
    assert len(connector.put_batch([[b"z"]] * 10)) == 10


@pytest.mark.parametrize("size", [3_000_000, 60_000_000])
def test_a_full_server_is_an_error_and_keeps_nothing_of_the_object(
    lonely: Server, connector: RedisConnector, size: int
) -> None:
    kept = connector.put([b"kept"])
    with lonely.client() as client:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", used + min(size // 2, 20_000_000))
        with pytest.raises(StoreFullError, match="maxmemory"):
            connector.put([os.urandom(size)])
        assert client.dbsize() == 1
        client.config_set("maxmemory", 0)
    assert connector.get(kept) == b"kept"
    assert connector.get(connector.put([b"n" * size])) == b"n" * size


def test_a_piece_that_is_gone_means_the_object_is_gone(lonely: Server) -> None:
    with closing(connect(f"{lonely.url}?chunk_above_bytes=1024&chunk_bytes=1024")) as made:
        key = made.put([os.urandom(10_000)])
        with lonely.client() as client:
            client.delete(*client.keys("*/3"))
        assert made.get(key) is None


def test_pieces_without_an_owner_are_collected_and_others_left_alone(lonely: Server) -> None:
    with closing(connect(f"{lonely.url}?chunk_above_bytes=1024&chunk_bytes=1024")) as made, lonely.client() as client:
        client.set("somebody:else", "here")
        lost, kept = made.put([bytes(10_000)]), made.put([bytes(5_000)])
        client.delete(f"fp:{lost}")
        assert made.gc() == 10
        assert made.get(kept) == bytes(5_000)
        made.close(clear=True)
        assert client.keys() == [b"somebody:else"]


def test_a_server_of_a_cluster_asks_for_the_cluster(redis_cluster: list[Server]) -> None:
    with closing(connect(redis_cluster[0].url)) as made, pytest.raises(StoreUnavailableError, match="rediscluster"):
        made.put_batch([[b"x"]] * 20, ttl_s=10)


def test_a_server_that_is_no_cluster_says_so(redis_server: Server) -> None:
    assert "redis://" in str(refused(redis_server.url.replace("redis://", "rediscluster://")))


def test_large_values_are_spread_evenly_over_the_shards(redis_cluster: list[Server]) -> None:
    with closing(connect(f"{cluster_url(redis_cluster)}?prefix=even:")) as made:
        made.put([bytes(40_000_000)])
        clients = [server.client() for server in redis_cluster]
        counts = [sum(1 for _ in client.scan_iter("even:*")) for client in clients]
        made.close(clear=True)
        for client in clients:
            client.close()
    assert sum(counts) == 40
    assert max(counts) - min(counts) <= 4  # three between the pieces (see `spread_tags`), and one for the manifest


def test_keys_of_a_dead_shard_are_an_error_and_the_others_answer(need_redis: None, tmp_path: Path) -> None:
    with servers.redis_cluster(tmp_path / "cluster") as nodes, closing(connect(cluster_url(nodes))) as made:
        keys = made.put_batch([[b"%d" % index] for index in range(60)])
        nodes[2].kill()
        found, lost = 0, 0
        for key in keys:
            try:
                found += made.get(key) is not None
            except StoreUnavailableError:
                lost += 1
        assert found > 0 < lost
        assert found + lost == 60
        nodes[2].start()
        servers.wait_until(lambda: _stored(made), "the shard is back")


def _stored(made: RedisConnector) -> bool:
    try:
        return len(made.put_batch([[b"x"]] * 60)) == 60
    except StoreError:
        return False


def test_an_acl_user_may_use_its_prefix_only(lonely: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with lonely.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "alice", "on", ">wonderland", "~mine:*", "&mine:*", "+@all", "-@admin", "-flushdb"
        )
    monkeypatch.setenv("FEDPROXY_REDIS_USERNAME", "alice")
    monkeypatch.setenv("FEDPROXY_REDIS_PASSWORD", "wonderland")
    with closing(connect(f"{lonely.url}?prefix=mine:")) as mine:
        assert mine.get(mine.put([b"x" * 9_000_000])) == b"x" * 9_000_000
    with closing(connect(f"{lonely.url}?prefix=yours:")) as yours, pytest.raises(StoreUnavailableError, match="NOPERM"):
        yours.put([b"x"])


def test_a_forked_child_dials_anew(redis_server: Server) -> None:
    with closing(connect(f"{redis_server.url}?prefix=fork:")) as made:
        key = made.put([b"before"])
        child = os.fork()
        if child == 0:
            os._exit(0 if made.get(key) == b"before" and made.put([b"c"], key="child") else 1)
        assert made.get(key) == b"before"
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert made.get("child") == b"c"
        made.close(clear=True)


def test_a_password_in_a_url_works_here_and_travels_nowhere(lonely: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDPROXY_REDIS_PASSWORD")
    secret = PASSWORD.replace(" ", "%20")
    with closing(connector_from_url(f"redis://:{secret}@127.0.0.1:{lonely.port}")) as made:
        assert made.get(made.put([b"x"])) == b"x"
        assert "horse" not in made.url
        assert "horse" not in repr(pickle.dumps(made.url)) + repr(vars(made))


@pytest.mark.parametrize("url", [
    "redis://host:port", "redis://h:1,h:2", "redis://h:1/one", "redis://h:1?prefix=", "redis://h:1?nonsense=1",
    "redis://h:1?timeout_s=soon", "rediscluster://h:1/3", "redis+unix://", "redis://h:1?prefix=a%20b", "redis://h:99999",
])
def test_a_url_that_is_not_understood_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        connect(url)


def test_a_map_of_the_cluster_that_is_out_of_date_is_corrected(redis_cluster: list[Server]) -> None:
    with closing(connect(f"{cluster_url(redis_cluster)}?prefix=moved:&chunk_above_bytes=10000&chunk_bytes=1024")) as made:

        def forget_where_things_are() -> None:
            known = made.client.refresh()
            after = dict(zip(known.masters, known.masters[1:] + known.masters[:1], strict=True))
            made.client._map = evolve(known, slots=tuple(after[slot or ""] for slot in known.slots))

        data = os.urandom(50_000)
        forget_where_things_are()
        large = made.put([data])
        forget_where_things_are()
        assert bytes(made.get(large) or b"") == data
        forget_where_things_are()
        keys = made.put_batch([[b"%d" % index] for index in range(100)])
        forget_where_things_are()
        assert made.get_batch(keys) == [b"%d" % index for index in range(100)]
        forget_where_things_are()
        made.evict_batch([*keys, large])
        assert not any(made.exists_batch([*keys, large]))
        assert list(made.entries()) == []
