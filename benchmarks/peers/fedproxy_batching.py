"""fedproxy with the agent's batching and without it.

Without: the agent has room for as many tasks as it has workers, so that each task is asked for when a worker is free, travels in a message of its own, and no
worker is filled ahead. That is what funcX's managers did before they batched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen

from benchmarks.host import Host
from benchmarks.peers.fedproxy_pool import FedproxyPool
from benchmarks.peers.fedproxy_session import program, session
from fedproxy import Executor
from fedproxy.config.home import endpoint_dir

UNBATCHED = "unbatched"


@frozen
class FedproxyPools:
    """Two endpoints of one service."""

    batched: FedproxyPool
    unbatched: FedproxyPool


@contextmanager
def _unbatched(host: Host) -> Iterator[Executor]:
    with (
        program("unbatched", str(host.workers), UNBATCHED, ready=endpoint_dir(UNBATCHED) / "agent.json"),
        Executor(endpoint_id=UNBATCHED) as executor,
    ):
        yield executor


def pools(host: Host) -> FedproxyPools:
    """A private service and two endpoints."""
    return FedproxyPools(FedproxyPool(host.shared(session)), FedproxyPool(host.shared(_unbatched)))
