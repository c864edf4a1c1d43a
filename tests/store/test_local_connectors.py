from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedproxy.store.connectors.base import Connector
from fedproxy.store.connectors.registry import connector_from_url
from fedproxy.testing.connectors import ConnectorConformance


class TestMemoryConnector(ConnectorConformance):
    @pytest.fixture
    def connector(self, urls: dict[str, str]) -> Iterator[Connector]:
        made = connector_from_url(urls["memory"])
        yield made
        made.close(clear=True)


class TestFileConnector(ConnectorConformance):
    @pytest.fixture
    def connector(self, urls: dict[str, str]) -> Iterator[Connector]:
        made = connector_from_url(urls["file"])
        yield made
        made.close(clear=True)


class TestReadingFileConnector(ConnectorConformance):
    @pytest.fixture
    def connector(self, urls: dict[str, str]) -> Iterator[Connector]:
        made = connector_from_url(urls["file"] + "?read=1")
        yield made
        made.close(clear=True)


class TestShmConnector(ConnectorConformance):
    @pytest.fixture
    def connector(self, urls: dict[str, str]) -> Iterator[Connector]:
        made = connector_from_url(urls["shm"])
        yield made
        made.close(clear=True)
