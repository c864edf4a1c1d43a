"""The Redis that an endpoint has beside it: servers of its own, or somebody else's by URL.

Its URL becomes the first of the site's stores, behind a cache of one copy per node. Whoever resolves needs the password: it goes into
``credentials.json`` (0600) of this home, where workers and clients of this user look it up, and is taken out when the agent ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from attrs import evolve, field, frozen

from fedproxy.config.endpoint import EndpointConfig
from fedproxy.errors import StoreUnavailableError
from fedproxy.protocol.report import RedisReport
from fedproxy.store.connectors.node_cache import clear_copies
from fedproxy.store.connectors.redis_config import parse_url
from fedproxy.store.credentials import Credentials, credentials_for, publish, withdraw


def _nothing() -> tuple[RedisReport, ...]:
    return ()


@frozen
class Attached:
    """``url`` is empty where there is no Redis; it never holds a secret."""

    url: str = ""
    report: Callable[[], tuple[RedisReport, ...]] = field(default=_nothing)

    @property
    def store_url(self) -> str:
        """The site's store in it: large objects are copied once to each node that wants them."""
        return f"nodecache://?store={quote(self.url, safe='')}" if self.url else ""

    def added_to(self, config: EndpointConfig) -> EndpointConfig:
        """``config`` with this store before all others."""
        return evolve(config, stores=(self.store_url, *config.store_urls())) if self.url else config


@contextmanager
def attached_redis(config: EndpointConfig, directory: Path) -> Iterator[Attached]:
    """What ``config.redis`` asks for, from here to the end of the block.

    Raises:
        ConfigError: no server program, no such interface, or not a Redis URL.
        EndpointError: the servers did not start.
        StoreUnavailableError: the existing one cannot be reached.
    """
    if config.redis.nodes:
        with _own(config, directory) as attached:
            yield attached
    elif config.redis.url:
        with _existing(config.redis.url) as attached:
            yield attached
    else:
        yield Attached()


@contextmanager
def _own(config: EndpointConfig, directory: Path) -> Iterator[Attached]:
    from fedproxy.endpoint.redis_cluster import RedisCluster

    cluster = RedisCluster(config.redis, directory / "redis")
    cluster.start()
    addresses = [door.address for door in cluster.doors]
    attached = Attached(cluster.url, cluster.report)
    try:
        publish({door.address: Credentials(None, door.password) for door in cluster.doors})
        yield attached
    finally:
        cluster.stop()
        withdraw(addresses)
        clear_copies(attached.url)


@contextmanager
def _existing(url: str) -> Iterator[Attached]:
    from fedproxy.store.connectors.redis import RedisConnector  # it needs redis-py

    config = parse_url(url)  # takes the password out
    if not RedisConnector(config).reachable():
        raise StoreUnavailableError("the Redis of this endpoint does not answer or refuses the login", store=config.url,
                                    hint="check redis.url, or `redis: {nodes: 3}` for servers of the endpoint's own")
    entries = {server: found for server in config.servers if (found := credentials_for(server)).password}
    publish(entries)
    try:
        yield Attached(config.url)
    finally:
        clear_copies(config.url)
