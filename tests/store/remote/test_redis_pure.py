"""What of the Redis connector needs no server: replies in pieces, slots, configuration, secrets."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedproxy.errors import ConfigError
from fedproxy.store import credentials
from fedproxy.store.connectors.redis_chunks import Manifest, manifest_in
from fedproxy.store.connectors.redis_config import parse_url
from fedproxy.store.connectors.redis_slots import parse_slots, slot_of, spread_tags
from fedproxy.store.connectors.redis_wire import BrokenReplyError, ReplyError, Wire, allocate


def replies_to(data: bytes, count: int, *, step: int = 7) -> list[object]:
    """``count`` replies from ``data`` that comes ``step`` bytes at a time."""
    here, there = socket.socketpair()
    with here, there:
        wire = Wire(here, timeout_s=5)

        def feed() -> None:
            for start in range(0, len(data), step):
                there.sendall(data[start : start + step])
            there.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=feed)
        thread.start()
        try:
            return list(wire.read_many(count))
        finally:
            thread.join(10)


@given(st.lists(st.none() | st.integers(-9, 9) | st.binary(max_size=300), max_size=20), st.integers(1, 50))
def test_replies_are_read_whole_however_they_are_cut(values: list[object], step: int) -> None:
    data = b"".join(
        b"$-1\r\n" if v is None else b":%d\r\n" % v if isinstance(v, int) else b"$%d\r\n%b\r\n" % (len(v), v)  # type: ignore[arg-type,str-bytes-safe]
        for v in values
    )
    assert replies_to(data, len(values), step=step) == values


def test_nested_lists_and_errors_are_read() -> None:
    inner, error = replies_to(b"*2\r\n$1\r\na\r\n*1\r\n:5\r\n-OOM no room\r\n", 2)
    assert inner == [b"a", [5]]
    assert isinstance(error, ReplyError)
    assert error.code == "OOM"


def test_a_value_larger_than_the_scratch_buffer_is_received_into_place() -> None:
    value = bytes(range(256)) * 2_000
    assert replies_to(b"$%d\r\n%b\r\n:1\r\n" % (len(value), value), 2, step=65_000) == [value, 1]


@pytest.mark.parametrize("data", [b"HTTP/1.1 200\r\n", b"$x\r\n", b"\r\n", b"$3\r\nabcde\r\n", b"a" * 70_000])
def test_what_is_not_redis_is_an_error(data: bytes) -> None:
    with pytest.raises((BrokenReplyError, ConnectionError)):
        replies_to(data, 2, step=10_000)


def test_a_buffer_in_use_is_not_used_again() -> None:
    first = b"$400000\r\n" + b"a" * 400_000 + b"\r\n"
    second = b"$400000\r\n" + b"b" * 400_000 + b"\r\n"
    one, two = replies_to(first + second, 2, step=50_000)
    assert (one, two) == (b"a" * 400_000, b"b" * 400_000)


def test_large_buffers_have_the_length_that_was_asked_for() -> None:
    assert [len(allocate(size)) for size in (0, 1, 2_097_152, 5_000_001)] == [0, 1, 2_097_152, 5_000_001]


def test_slots_are_those_of_the_specification() -> None:
    assert slot_of(b"123456789") == 12739
    assert slot_of(b"{user1000}.following") == slot_of(b"{user1000}.followers") == slot_of(b"user1000")
    assert slot_of(b"foo{}{bar}") != slot_of(b"bar")


@given(st.integers(0, 255), st.integers(1, 200), st.integers(2, 7))
def test_pieces_fall_on_shards_evenly(first: int, pieces: int, shards: int) -> None:
    counts = [0] * shards
    for tag in spread_tags(pieces, first):
        counts[slot_of(tag) * shards // 16384] += 1
    assert max(counts) - min(counts) <= 5 + pieces // 32


def test_nodes_that_do_not_know_their_name_are_where_they_were_asked() -> None:
    reply = [[0, 8191, [bytearray(b""), 7001, bytearray(b"id")]], [8192, 16383, [bytearray(b"10.0.0.2"), 7002]]]
    found = parse_slots(reply, "gate:7000")  # type: ignore[arg-type]
    assert found.masters == ("gate:7001", "10.0.0.2:7002")


@given(st.binary(max_size=60))
def test_only_a_manifest_is_taken_for_one(data: bytes) -> None:
    manifest = Manifest(b"123456", 10_000_000, 1_000_000)
    assert manifest_in(bytearray(manifest.pack())) == manifest
    assert manifest_in(bytearray(data)) is None


@pytest.mark.parametrize("url", [
    "redis://host:6379", "rediss://h:1/2?prefix=a:", "redis+unix:///run/redis.sock?db=3",
    "rediscluster://a:1,b:2?chunk_bytes=4096", "redisscluster://a:1?ca=/etc/ca.pem", "redis://[::1]:6379",
])
def test_a_canonical_url_stays_as_it_is(url: str) -> None:
    assert parse_url(url).url == url


def test_secrets_leave_the_url_and_are_found_by_host(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_url("redis://alice:s%40crt@host:1/0")
    assert config.url == "redis://host:1"
    assert credentials.credentials_for("host:1") == credentials.Credentials("alice", "s@crt")
    assert "s@crt" not in repr(credentials.credentials_for("host:1"))


def test_the_table_goes_before_the_environment_and_must_be_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    table = home / "credentials.json"
    table.touch(mode=0o600)
    table.write_text('{"one:1": {"password": "by port"}, "two": {"username": "u", "password": "by host"}}')
    assert credentials.credentials_for("one:1").password == "by port"
    assert credentials.credentials_for("two:9").username == "u"
    assert credentials.credentials_for("three:1").password == "correct horse"
    assert credentials.listed_credentials("three:1").password is None
    table.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        credentials.credentials_for("one:1")


def test_a_password_file_is_read_and_must_be_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDPROXY_REDIS_PASSWORD")
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text("from a file\n")
    monkeypatch.setenv("FEDPROXY_REDIS_PASSWORD_FILE", str(path))
    assert credentials.credentials_for("h:1").password == "from a file"
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        credentials.credentials_for("h:1")
