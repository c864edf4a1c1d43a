"""Every remote technology passes the suite of ``fedproxy.testing``, each on a real server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from fedproxy.store.connectors.base import Connector
from fedproxy.store.connectors.multi import Rule, make_url
from fedproxy.store.connectors.registry import connector_from_url
from fedproxy.testing.connectors import ConnectorConformance
from fedproxy.testing.servers import Server, cluster_url


def opened(url: str) -> Iterator[Connector]:
    made = connector_from_url(url)
    yield made
    made.close(clear=True)


def prefix() -> str:
    return f"prefix=test-{secrets.token_hex(4)}:"


class TestRedis(ConnectorConformance):
    @pytest.fixture
    def connector(self, redis_server: Server) -> Iterator[Connector]:
        yield from opened(f"{redis_server.url}?{prefix()}")


class TestRedisInSmallPieces(ConnectorConformance):
    @pytest.fixture
    def connector(self, redis_server: Server) -> Iterator[Connector]:
        yield from opened(f"{redis_server.url}?{prefix()}&chunk_bytes=4096&chunk_above_bytes=10000")


class TestRedisCluster(ConnectorConformance):
    @pytest.fixture
    def connector(self, redis_cluster: list[Server]) -> Iterator[Connector]:
        yield from opened(f"{cluster_url(redis_cluster)}?{prefix()}")


class TestRedisOverTls(ConnectorConformance):
    @pytest.fixture
    def connector(self, redis_tls: Server) -> Iterator[Connector]:
        yield from opened(f"{redis_tls.url}&{prefix()}")


class TestRedisOnUnixSocket(ConnectorConformance):
    @pytest.fixture
    def connector(self, redis_unix: Server) -> Iterator[Connector]:
        yield from opened(f"{redis_unix.url}?{prefix()}")


class TestS3(ConnectorConformance):
    @pytest.fixture
    def connector(self, s3_endpoint: str) -> Iterator[Connector]:
        yield from opened(f"s3://bucket/{secrets.token_hex(4)}?endpoint_url={s3_endpoint}&range_bytes=1000000")


class TestFsspecWithRename(ConnectorConformance):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Iterator[Connector]:
        yield from opened(f"fsspec+file://{tmp_path}/objects")


class TestProxyStoreFile(ConnectorConformance):
    @pytest.fixture
    def connector(self, tmp_path: Path) -> Iterator[Connector]:
        config = quote(json.dumps({"store_dir": str(tmp_path / "theirs")}))
        yield from opened(f"proxystore://proxystore.connectors.file:FileConnector?config={config}&owned=1")


class TestTiers(ConnectorConformance):
    @pytest.fixture
    def connector(self, tmp_path: Path, redis_server: Server) -> Iterator[Connector]:
        tiers = [(f"{redis_server.url}?{prefix()}", Rule(max_bytes=100_000)), (f"file://{tmp_path}/large", Rule())]
        yield from opened(make_url("tiers", tiers))


class TestNodeCache(ConnectorConformance):
    @pytest.fixture
    def connector(self, tmp_path: Path, redis_server: Server) -> Iterator[Connector]:
        remote = quote(f"{redis_server.url}?{prefix()}", safe="")
        cache = quote(f"file://{tmp_path}/cache", safe="")
        yield from opened(f"nodecache://?store={remote}&cache={cache}&min_bytes=1000")
