"""The Redis cluster that an endpoint brings along, or finds: plain data."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import in_

from fedproxy.config.sizes import size_bytes

POLICIES = ("noeviction", "volatile-lru", "volatile-lfu", "volatile-ttl", "volatile-random")
"""Not ``allkeys-*``: they may remove what user code keeps for good."""
PERSISTENCE = ("stop", "always", "never")
MOST_NODES = 100


def _nodes(_self: object, _field: object, value: int) -> None:
    if not 0 <= value <= MOST_NODES:
        raise ValueError(f"redis.nodes: expected 0 to {MOST_NODES}, got {value}")


def _memory(_self: object, _field: object, value: str) -> None:
    try:
        _ = value and size_bytes(value)
    except ValueError as exc:
        raise ValueError(f"redis.memory: {exc}") from None


@frozen
class AttachedRedis:
    """``nodes`` servers of the endpoint's own, or an existing server or cluster by ``url``; by default neither."""

    nodes: int = field(default=0, validator=_nodes)
    memory: str = field(default="", validator=_memory)
    """What all nodes together may hold; empty: a quarter of the machine's memory."""
    policy: str = field(default="noeviction", validator=in_(POLICIES))
    """What a full node does. ``noeviction`` refuses writes, so that nothing that a task still needs is lost in silence."""
    interface: str = "127.0.0.1"
    """Address or name of the network interface to listen on. Beyond loopback the link is not encrypted."""
    persist: str = field(default="stop", validator=in_(PERSISTENCE))
    """``stop``: saved when the endpoint stops, there again when it starts; ``always``: also every second to a log; ``never``."""
    url: str = ""
    """An existing one: ``redis://HOST:PORT``, ``rediscluster://HOST:PORT,HOST:PORT``, ``rediss://``, ``redis+unix://``."""

    def __attrs_post_init__(self) -> None:
        if self.nodes and self.url:
            raise ValueError("redis.nodes and redis.url: either servers of the endpoint's own or existing ones, not both")

    @property
    def wanted(self) -> bool:
        """Whether the endpoint has any."""
        return bool(self.nodes or self.url)
