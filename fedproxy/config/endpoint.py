"""What an endpoint is told: plain data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TypeAlias

from attrs import Factory, field, frozen
from attrs.validators import in_

from fedproxy.config.containers import Containers
from fedproxy.config.home import default_site, endpoint_dir, host_id
from fedproxy.config.redis import AttachedRedis
from fedproxy.config.sizes import size_bytes
from fedproxy.config.workers import AFFINITIES, Sandbox

ANY_FUNCTION = "*"
_FUNCTION_ID = re.compile("[0-9a-f]{64}")

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
    status_s: float = 10.0
    """How often, at most, a batch system is asked about its jobs."""


def _memory(_self: object, _field: object, value: str) -> None:
    try:
        _ = value and size_bytes(value)
    except ValueError as exc:
        raise ValueError(f"memory_per_worker: {exc}") from None


@frozen
class LocalEngine:
    """Warm worker processes on this node, all of them from the start unless ``min_workers`` says otherwise."""

    type: str = "local"
    max_workers: int = field(factory=lambda: os.cpu_count() or 1)
    min_workers: int = field(default=Factory(lambda self: self.max_workers, takes_self=True))
    cores: float = field(factory=lambda: len(os.sched_getaffinity(0)))
    """For tasks that ask for cores; likewise:"""
    memory_mb: int = field(factory=lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20)
    available_accelerators: int | tuple[str, ...] = ()
    """How many, or their ids. Each goes to one of the tasks that ask for some at a time, as CUDA_VISIBLE_DEVICES and the like. Where there is one for
    each worker, the tasks that ask for none see their worker's."""
    mpi_launcher: str = "mpirun"
    """``mpirun``, ``mpiexec``, ``srun``, ``aprun``, or a template: ``my-launcher -n {num_ranks} {launcher_options}``."""
    scaling: Scaling = field(factory=Scaling)
    cpu_affinity: str = field(default="none", validator=in_(AFFINITIES))
    """``block``: a worker's cores are neighbours; ``alternating``: every so many."""
    worker_init: str = ""
    """Shell lines that come before each worker: ``module load``, ``source``, ``export``."""
    memory_per_worker: str = field(default="", validator=_memory)
    """What the data of one process of a task may take, and all of its processes together; empty: no limit."""
    tasks_per_worker: int = 0
    """A worker is replaced after so many; 0: never."""


@frozen
class ParslEngine:
    """Workers on the nodes that a Parsl provider hands out (Slurm, PBS, Kubernetes, ...), by Parsl's HighThroughputExecutor."""

    type: str = "parsl"
    provider: Tree = field(factory=lambda: {"type": "LocalProvider"})
    """``type`` and arguments of a class in ``parsl.providers``; ``launcher`` likewise, of ``parsl.launchers``."""
    max_workers: int = 0
    """Workers on each node; 0: one for each of its cores, by ``cores_per_worker``."""
    python: str = ""
    """The interpreter on the nodes; empty: this one, which must be there under the same path."""
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


def _function_ids(_self: object, _field: object, ids: tuple[str, ...]) -> None:
    for each in ids:
        if each != ANY_FUNCTION and not _FUNCTION_ID.fullmatch(each):
            raise ValueError(f"allowed_functions: {each!r} is no function id: 64 hex digits, as Client.register_function gives them")


@frozen
class Heartbeat:
    """A peer that was silent for ``period_s * grace`` is lost."""

    period_s: float = 30.0
    grace: int = 3


@frozen
class Transfer:
    """How data comes to this site and leaves it."""

    data_host: str = "127.0.0.1"
    """Address that the data server listens on: loopback unless other sites are to reach it. Empty: for this site's own workers
    only, and no site is told of it."""
    data_port: int = 0
    data_url: str = ""
    """What other sites are told, where it differs from the address: behind a forwarded port, say."""
    routes: tuple[str, ...] = ("bucket", "globus", "direct", "url", "relay")
    """Those that may be used; the planner chooses among them."""
    buckets: tuple[str, ...] = ()
    """Object storage shared with other sites: fsspec URLs of folders (``s3://bucket/prefix``)."""
    published: tuple[str, ...] = ()
    """``STORE_URL=URL``: the objects of this store can be read at ``URL/KEY``."""
    globus_collection: str = ""
    globus_base_path: str = "/"
    globus_folder: str = ""
    """The folder of this machine that the collection shows at ``globus_base_path``."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, addresses or networks (``10.0.0.0/8``) that URLs may lead to although they are private or this machine's own."""
    folder: str = ""
    """Where they lie: a file system that all workers see, a fast one. Empty: in the endpoint's own folder."""
    space_bytes: int = 50 * 1024**3
    """Room for staged copies."""
    prefetch: bool = True
    """Fetch what a task needs while it waits; otherwise when it is first used."""
    parallel_batches: int = 2
    streams: int = 4
    """Connections for one batch."""
    stall_s: float = 30.0
    """A transfer without a byte for so long has stalled."""
    give_up_s: float = 60.0
    """How long other ways are tried before the task fails."""


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
    transfer: Transfer = field(factory=Transfer)
    user_config_keys: tuple[str, ...] = ()
    """Keys that users may set by ``user_endpoint_config``; tasks find what was set in FEDPROXY_USER_ENDPOINT_CONFIG, as JSON."""
    service_url: str = ""
    """Empty: the local service."""
    sandbox: Sandbox = field(factory=Sandbox)
    endpoint_setup: str = ""
    """Shell lines that are run before the engine starts; it does not start where they fail."""
    endpoint_teardown: str = ""
    """Shell lines that are run when the endpoint has stopped."""
    idle_shutdown_s: float = 0.0
    """The endpoint stops when it has had nothing to do for so long; 0: never."""
    service_key: str = ""
    """The service's own key (64 hex digits); empty: the one that it has when it is first met is pinned."""
    allowed_functions: tuple[str, ...] = field(default=(ANY_FUNCTION,), validator=_function_ids)
    """Ids of the functions that may run here; by default any."""
    redis: AttachedRedis = field(factory=AttachedRedis)

    def store_urls(self) -> tuple[str, ...]:
        """The site's stores, fastest first."""
        if self.stores:
            return self.stores
        return (f"shm://{host_id()}/{self.site}", f"file://{endpoint_dir(self.name) / 'store'}")
