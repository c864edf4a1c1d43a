"""``fedproxy.get_redis_client()``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedproxy.errors import ConfigError
from fedproxy.store.user_redis import connect, here

if TYPE_CHECKING:
    from fedproxy.dispatch.client import Client


def get_redis_client(endpoint: str | None = None, *, client: Client | None = None) -> Any:
    """A ready redis-py client for an endpoint's Redis: ``redis.cluster.RedisCluster`` where it has several nodes, ``redis.Redis`` where it has one.

    Inside a task it is that of the task's endpoint. Elsewhere name the ``endpoint``: the process must reach its servers and know their password,
    as any process of the same user on the same machine does. Keys that begin with ``fp:`` are fedproxy's own. One client for each process; do not close it.

    Raises:
        ConfigError: neither in a task nor with an endpoint, or the endpoint has no Redis.
        UnknownEndpointError: there is no such endpoint.
        MissingExtraError: redis-py is not installed here.
    """
    if endpoint is None:
        return connect(here())
    if client is None:
        from fedproxy.dispatch.api import get_client

        client = get_client()
    url = client.get_endpoint_status(endpoint)["profile"].get("redis")
    if not url:
        raise ConfigError(f"endpoint {endpoint!r} has no Redis", hint=f"fedproxy endpoint start {endpoint} --redis 3, or `redis:` in its config.yaml")
    return connect(str(url))
