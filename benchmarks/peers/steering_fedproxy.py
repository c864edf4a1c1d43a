"""Steering by ``fedproxy.patterns.steering``, over each kind of store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.functions import Array
from benchmarks.host import Host
from benchmarks.peers.fedproxy_session import ENDPOINT, running
from benchmarks.peers.redis_server import redis_address
from benchmarks.steering import Ended, received, work
from fedproxy.config.home import host_id
from fedproxy.patterns.steering import TaskQueues


class FedproxyCampaign:
    """Stage times are those of the result's own timestamps, and of touching what is mapped."""

    def __init__(self, queues: TaskQueues, workers: int) -> None:
        self._queues = queues
        self.workers = workers

    def send(self, number: int, array: Array) -> None:
        self._queues.send_inputs(array, task_info={"number": number})

    def take(self) -> tuple[Ended, Array]:
        result = self._queues.get_result(timeout=120)
        if result.exception is not None:
            raise result.exception
        array, read = received(lambda: result.value)
        ended = Ended(
            result.seconds("created", "submitted"), result.seconds("started", "compute_started") + float(array[0]),
            result.seconds("compute_ended", "result_sent"), read, result.timestamps["compute_started"], result.timestamps["compute_ended"],
            result.task_info["number"])
        return ended, array


def opener(kind: str, url: Callable[[Host], str]) -> Callable[[Host], FedproxyCampaign]:
    """A factory over an endpoint whose only store is ``url(host)``."""

    @contextmanager
    def campaign(host: Host) -> Iterator[FedproxyCampaign]:
        with running(host.directory / f"home-{kind}", host.workers, url(host)), TaskQueues({work: ENDPOINT}) as queues:
            yield FedproxyCampaign(queues, host.workers)

    return lambda host: host.own(campaign(host))


def _redis_url(host: Host) -> str:
    name, port = redis_address()
    return f"redis://{name}:{port}"


shm = opener("shm", lambda host: f"shm://{host_id()}/bench-{hashlib.sha256(str(host.directory).encode()).hexdigest()[:12]}")
file = opener("file", lambda host: f"file://{host.directory / 'shared'}")
redis = opener("redis", _redis_url)
