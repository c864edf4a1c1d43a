"""Connectors from URLs: one table of schemes, imported only when one is used, extended by entry points.

A third party adds a scheme with an entry point of the group ``fedproxy.connectors``: ``scheme = "module:factory"``,
where ``factory(url)`` gives a connector.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast
from urllib.parse import urlsplit

from fedproxy.errors import ConfigError, MissingExtraError
from fedproxy.store.connectors.base import Connector

ENTRY_POINT_GROUP = "fedproxy.connectors"
_HERE = "fedproxy.store.connectors"

FACTORIES: dict[str, str] = {
    "memory": f"{_HERE}.memory:connect",
    "shm": f"{_HERE}.shm:connect",
    "file": f"{_HERE}.file:connect",
    "redis": f"{_HERE}.redis:connect",
    "rediss": f"{_HERE}.redis:connect",
    "redis+unix": f"{_HERE}.redis:connect",
    "rediscluster": f"{_HERE}.redis:connect",
    "redisscluster": f"{_HERE}.redis:connect",
    "multi": f"{_HERE}.multi:connect",
    "nodecache": f"{_HERE}.node_cache:connect",
    "globus": f"{_HERE}.globus:connect",
    "proxystore": f"{_HERE}.proxystore:connect",
}
"""Scheme to "module:factory". Schemes that are not here and not an entry point go to fsspec."""

EXTRAS: dict[str, str] = {"redis": "redis", "s3fs": "s3", "paramiko": "sftp", "globus_sdk": "globus"}
"""Module that may be missing, to the extra that brings it."""

_FSSPEC = f"{_HERE}.fsspec:connect"


def connector_from_url(url: str) -> Connector:
    """A new connector for ``url``. Prefer ``Store.from_url``, which shares one per process.

    Raises:
        ConfigError: not a URL, or a scheme that nothing here knows.
        MissingExtraError: the technology's client library is not installed.
    """
    scheme = urlsplit(url).scheme
    if not scheme:
        raise ConfigError(f"not a store URL: {url!r}", hint="for example memory://NAME, file:///DIR, redis://HOST:PORT")
    return _factory(scheme)(url)


def _factory(scheme: str) -> Callable[[str], Connector]:
    target = FACTORIES.get(scheme) or _entry_point(scheme) or _FSSPEC
    module, _, name = target.partition(":")
    try:
        return cast("Callable[[str], Connector]", getattr(importlib.import_module(module), name))
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] == "fedproxy":
            raise ConfigError(f"no connector for {scheme}:// is installed", hint="check the URL's scheme") from exc
        raise missing_extra(exc.name or "", scheme) from exc


def _entry_point(scheme: str) -> str | None:
    for point in entry_points(group=ENTRY_POINT_GROUP, name=scheme):
        return point.value
    return None


def missing_extra(module: str, scheme: str) -> MissingExtraError:
    """The error for a store whose client library ``module`` is not installed here."""
    root = module.partition(".")[0]
    package = f"'fedproxy[{EXTRAS[root]}]'" if root in EXTRAS else root
    return MissingExtraError(f"{scheme}:// stores need {root}", hint=f"pip install {package}")
