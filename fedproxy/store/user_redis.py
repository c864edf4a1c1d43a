"""A ready Redis client for user code: the endpoint's own cluster, from inside a task or from a client on the same site."""

from __future__ import annotations

import importlib
import os
import threading
from typing import Any

from fedproxy.errors import ConfigError, StoreUnavailableError
from fedproxy.store.connectors.redis_config import RedisConfig, parse_url
from fedproxy.store.connectors.registry import missing_extra
from fedproxy.store.credentials import credentials_for

REDIS_VARIABLE = "FEDPROXY_REDIS_URL"
"""Set for workers: where the endpoint's Redis is, without the password."""

_clients: dict[tuple[int, str], Any] = {}
_lock = threading.Lock()


def here() -> str:
    """The URL of the Redis of the endpoint that this process works for.

    Raises:
        ConfigError: this is no worker, or its endpoint has no Redis.
    """
    url = os.environ.get(REDIS_VARIABLE, "")
    if url:
        return url
    if os.environ.get("FEDPROXY_ENDPOINT_ID"):
        raise ConfigError("this endpoint has no Redis", hint="fedproxy endpoint start NAME --redis 3, or `redis:` in its config.yaml")
    raise ConfigError("get_redis_client() was called outside a task", hint="name an endpoint of this site: get_redis_client(endpoint='NAME')")


def connect(url: str) -> Any:
    """A redis-py client for ``url``: ``redis.cluster.RedisCluster`` where it is a cluster, else ``redis.Redis``. One for each process and URL.

    Raises:
        ConfigError: not a Redis URL.
        MissingExtraError: redis-py is not installed here.
        StoreUnavailableError: no server of the cluster answers.
    """
    key = (os.getpid(), url)  # a connection must not be shared with a forked child
    with _lock:
        if key not in _clients:
            _clients[key] = _client(parse_url(url))
        return _clients[key]


def _client(config: RedisConfig) -> Any:
    try:
        redis: Any = importlib.import_module("redis")
        cluster: Any = importlib.import_module("redis.cluster")
    except ImportError as exc:
        raise missing_extra("redis", config.scheme) from exc
    login = credentials_for(config.servers[0])
    options: dict[str, Any] = {"username": login.username, "password": login.password}
    if config.tls:
        options |= {"ssl": True, "ssl_ca_certs": config.ca or None}
    if config.unix:
        return redis.Redis(unix_socket_path=config.servers[0], db=config.db, **options)
    places = [(host.strip("[]"), int(port)) for host, _, port in (server.rpartition(":") for server in config.servers)]
    if config.cluster:
        try:
            return cluster.RedisCluster(startup_nodes=[cluster.ClusterNode(host, port) for host, port in places], **options)
        except (redis.RedisError, redis.exceptions.RedisClusterException) as exc:  # which is not one of the others
            raise StoreUnavailableError(
                f"no server of the Redis cluster answers: {exc}", store=config.url, hint="is its endpoint running? fedproxy endpoint status NAME") from exc
    host, port = places[0]
    return redis.Redis(host=host, port=port, db=config.db, **options)
