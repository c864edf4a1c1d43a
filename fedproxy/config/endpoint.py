"""What an endpoint is told: plain data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeAlias

from attrs import Factory, field, frozen

from fedproxy.config.containers import Containers
from fedproxy.config.home import default_site, endpoint_dir, host_id
from fedproxy.config.redis import AttachedRedis

Tree: TypeAlias = Mapping[str, object]
"""Keys and values that somebody else defines, such as the arguments of a Parsl provider."""


@frozen
class Scaling:
    """When an engine grows and shrinks between its minimum and its maximum."""

    idle_s: float = 120.0
    """What has been idle for so long is released."""
    parallelism: float = 1.0
    """Wanted workers per waiting task, 0 to 1: smaller is less aggressive."""
    queue_age_s: float = 0.0
    """Tasks that have waited for less than this do not count."""
    period_s: float = 1.0
    """How often it is looked at."""


@frozen
class LocalEngine:
    """Warm worker processes on this node, all of them from the start unless ``min_workers`` says otherwise."""

    type: str = "local"
    max_workers: int = field(factory=lambda: os.cpu_count() or 1)
    min_workers: int = field(default=Factory(lambda self: self.max_workers, takes_self=True))
    scaling: Scaling = field(factory=Scaling)


@frozen
class ParslEngine:
    """Workers on the nodes that a Parsl provider hands out (Slurm, PBS, Kubernetes, ...), by Parsl's HighThroughputExecutor."""

    type: str = "parsl"
    provider: Tree = field(factory=lambda: {"type": "LocalProvider"})
    """``type`` and arguments of a class in ``parsl.providers``; ``launcher`` likewise, of ``parsl.launchers``."""
    max_workers: int = 0
    """Workers on each node; 0: one for each of its cores, by ``cores_per_worker``."""
    cores_per_worker: float = 1.0
    mem_per_worker: float = 0.0
    """GB; 0: not looked at."""
    available_accelerators: tuple[str, ...] = ()
    """One worker is pinned to each."""
    cpu_affinity: str = "none"
    address: str | Tree = ""
    """Where workers reach this machine: an address, or ``{type: address_by_interface, ifname: ib0}``. Empty: all addresses are tried."""
    worker_port_range: tuple[int, int] = (54000, 55000)
    encrypted: bool = True
    heartbeat_period: int = 1
    """Seconds between two signs of life of a node's manager."""
    heartbeat_threshold: int = 4
    """A manager that was silent for so many seconds is lost."""
    label: str = "htex"
    scaling: Scaling = field(factory=Scaling)


@frozen
class ExecutorEngine:
    """Any ``concurrent.futures.Executor``."""

    type: str = "executor"
    factory: str = ""
    """Import path of what makes it: a class or a function; or a class and, behind it, the method that gives the executor."""
    args: Tree = field(factory=dict)
    """Arguments of that class or function."""
    address: str = "127.0.0.1"
    """Where its workers reach this machine."""
    max_workers: int = field(factory=lambda: os.cpu_count() or 1)
    """Bundles of tasks that it is given at once."""


EngineConfig: TypeAlias = LocalEngine | ParslEngine | ExecutorEngine
ENGINES: Mapping[str, type[EngineConfig]] = {"local": LocalEngine, "parsl": ParslEngine, "executor": ExecutorEngine}


@frozen
class Heartbeat:
    """A peer that was silent for ``period_s * grace`` is lost."""

    period_s: float = 30.0
    grace: int = 3


@frozen
class EndpointConfig:
    """One endpoint.

    ``stores`` are store URLs, fastest first; empty means shared memory, then files, under its own folder.
    """

    name: str
    display_name: str = ""
    site: str = field(factory=default_site)
    engine: EngineConfig = field(factory=LocalEngine)
    stores: tuple[str, ...] = ()
    proxy_threshold_bytes: int = 64 * 1024
    """Results larger than this become proxies."""
    containers: Containers = field(factory=Containers)
    heartbeat: Heartbeat = field(factory=Heartbeat)
    service_url: str = ""
    """Empty: the local service."""
    redis: AttachedRedis = field(factory=AttachedRedis)

    def store_urls(self) -> tuple[str, ...]:
        """The site's stores, fastest first."""
        if self.stores:
            return self.stores
        return (f"shm://{host_id()}/{self.site}", f"file://{endpoint_dir(self.name) / 'store'}")
