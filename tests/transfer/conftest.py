"""Servers that sites share, for all tests of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedproxy.testing import servers
from fedproxy.testing.globus import GlobusStandIn


@pytest.fixture(scope="module")
def globus() -> Iterator[GlobusStandIn]:
    """Who runs here is a confidential client of it."""
    with GlobusStandIn() as made, pytest.MonkeyPatch.context() as patch:
        client, secret = made.confidential_client()
        for name, value in {**made.environment, "FEDPROXY_GLOBUS_CLIENT_ID": client, "FEDPROXY_GLOBUS_CLIENT_SECRET": secret}.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a server with one bucket, ``bucket``."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        with servers.s3_server() as server:
            yield server
