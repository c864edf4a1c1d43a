"""What becomes of objects in Redis when the process that put them is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fedproxy.errors import ConfigError
from fedproxy.store.connectors.redis import RedisConnector
from fedproxy.store.connectors.redis_config import parse_url
from fedproxy.testing import servers
from fedproxy.testing.servers import Server

HOLDS_100 = """
import os, sys
from fedproxy.store import Store
store = Store.from_url(sys.argv[1])
ttl = float(sys.argv[2]) or None
refs = list(store.put_batch([b"x"] * 97, ttl=ttl))
refs += [store.put("one alone", ttl=ttl), store.put(os.urandom(9_000_000), ttl=ttl)]
store.connector.put([b"named"], key="named", ttl_s=ttl)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(url: str, ttl_s: float = 0.0) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds a hundred objects."""
    command = [sys.executable, "-c", HOLDS_100, url, str(ttl_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()
            process.wait(20)


def connect(server: Server, options: str) -> RedisConnector:
    return RedisConnector(parse_url(f"{server.url}?{options}"))


@pytest.mark.parametrize(("options", "ttl_s"), [("", 1.0), ("&lease_s=1", 0.0)])
def test_a_killed_process_leaves_nothing_after_the_lease(redis_server: Server, options: str, ttl_s: float) -> None:
    with redis_server.client() as client, holder(f"{redis_server.url}?prefix=gone:{options}", ttl_s) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        servers.wait_until(lambda: not client.keys("gone:*"), "the lease has ended")


def test_what_a_living_process_holds_outlasts_the_lease(redis_server: Server) -> None:
    with redis_server.client() as client, holder(f"{redis_server.url}?prefix=held:&lease_s=1") as process:
        before = sorted(client.keys("held:*"))
        assert len(before) > 100
        threading.Event().wait(2.5)
        assert sorted(client.keys("held:*")) == before
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        servers.wait_until(lambda: not client.keys("held:*"), "the lease has ended")


def test_a_lifetime_that_was_asked_for_is_not_renewed(redis_server: Server) -> None:
    connector = connect(redis_server, "prefix=own:&lease_s=0.4")
    brief, touched = connector.put([b"x"], ttl_s=1.0), connector.put([b"y"])
    for_ever = connector.put([b"z"])
    assert connector.touch(touched, 1.0)
    assert connector.touch(for_ever, None)
    servers.wait_until(lambda: not connector.exists(brief) and not connector.exists(touched), "their time is over")
    assert connector.exists(for_ever)
    connector.close(clear=True)


def test_what_was_evicted_is_not_owned_any_more(redis_server: Server) -> None:
    connector = connect(redis_server, "prefix=few:&lease_s=100")
    other = connect(redis_server, "prefix=few:&lease_s=100")
    keys = connector.put_batch([[b"x"]] * 5)
    connector.evict(keys[0])
    connector.evict_batch(keys[1:3])
    other.evict(keys[3])
    connector._lease.renew()
    assert list(connector._lease._owned) == [b"few:" + keys[4].encode()]
    other.close()
    connector.close(clear=True)


def test_without_a_lease_objects_stay_for_ever(redis_server: Server) -> None:
    connector = connect(redis_server, "prefix=ever:&lease_s=0")
    keys = [*connector.put_batch([[b"x"]] * 3), connector.put([b"y"]), connector.put([bytes(9_000_000)])]
    with redis_server.client() as client:
        assert {client.pttl(f"ever:{key}") for key in keys} == {-1}
        assert {client.pttl(name) for name in client.keys("ever:*")} == {-1}
    connector.close(clear=True)


def test_a_refused_batch_is_an_error_and_the_link_stays_in_step(lonely: Server) -> None:
    from fedproxy.errors import StoreFullError

    connector = connect(lonely, "prefix=full:")
    with lonely.client() as client:
        client.config_set("maxmemory", "3mb")
        client.config_set("maxmemory-policy", "noeviction")
        with pytest.raises(StoreFullError):
            connector.put_batch([[bytes(20_000)]] * 2_000)
        client.config_set("maxmemory", "0")
    key = connector.put_batch([[b"fine"]])[0]
    assert connector.get(key) == b"fine"
    connector.close(clear=True)


def test_a_lease_that_is_no_time_is_refused() -> None:
    with pytest.raises(ConfigError, match="lease_s"):
        parse_url("redis://localhost?lease_s=-1")
