"""Colmena 0.7.2 as its documentation has it: pipes between thinker and server, Parsl's HTEX on this machine, ProxyStore for what is large."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from colmena.queue import PipeQueues
from colmena.task_server.parsl import ParslTaskServer
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
from proxystore.connectors.file import FileConnector
from proxystore.connectors.redis import RedisConnector
from proxystore.store import Store, register_store

from benchmarks.functions import Array
from benchmarks.host import Host
from benchmarks.peers.redis_server import redis_address
from benchmarks.steering import Ended, received, work

THRESHOLD_BYTES = 10_000


class ColmenaCampaign:
    """Stage times are Colmena's own, and those of resolving its proxies."""

    def __init__(self, queues: PipeQueues, workers: int) -> None:
        self._queues = queues
        self.workers = workers

    def send(self, number: int, array: Array) -> None:
        self._queues.send_inputs(array, method="work", task_info={"number": number})

    def take(self) -> tuple[Ended, Array]:
        result = self._queues.get_result(timeout=120)
        if not result.success:
            raise RuntimeError(str(result.failure_info))
        array, read = received(lambda: result.value)
        stamps, spent = result.timestamp, result.time
        ended = Ended(
            spent.serialize_inputs, spent.deserialize_inputs + spent.async_resolve_proxies + float(array[0]), spent.serialize_results,
            spent.deserialize_results + read, stamps.compute_started, stamps.compute_ended, result.task_info["number"])
        return ended, array


def _config(directory: Path, workers: int) -> Config:
    executor = HighThroughputExecutor(
        label="htex", address="127.0.0.1", max_workers_per_node=workers, cores_per_worker=1e-6, prefetch_capacity=workers,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1))
    return Config(executors=[executor], run_dir=str(directory / "parsl"), strategy="none", usage_tracking=0)


def opener(kind: str, connector: Callable[[Host], Any]) -> Callable[[Host], ColmenaCampaign]:
    """A factory over a task server whose large values go through ``connector(host)``."""

    @contextmanager
    def campaign(host: Host) -> Iterator[ColmenaCampaign]:
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # Parsl starts its own scripts
        store: Any = Store(f"bench-{kind}", connector(host), cache_size=0)
        register_store(store)
        queues = PipeQueues(topics=[], keep_inputs=False, proxystore_name=store.name, proxystore_threshold=THRESHOLD_BYTES)
        server = ParslTaskServer([work], queues, _config(host.directory / kind, host.workers))
        server.start()
        try:
            yield ColmenaCampaign(queues, host.workers)
        finally:
            queues.send_kill_signal()
            server.join(30)
            if server.is_alive():
                server.kill()
            store.close(clear=kind == "file")

    return lambda host: host.own(campaign(host))


file = opener("file", lambda host: FileConnector(str(host.directory / "proxystore")))
redis = opener("redis", lambda host: RedisConnector(*redis_address()))
