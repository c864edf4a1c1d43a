"""fedproxy whole, on the engine of one's choice: a private service and one endpoint for each engine, as programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import evolve

from benchmarks.host import Host
from benchmarks.peers import fedproxy_session
from benchmarks.peers.fedproxy_pool import FedproxyPool
from benchmarks.peers.fedproxy_session import cleared, endpoint_config
from fedproxy import Executor
from fedproxy.config.endpoint import EndpointConfig, ParslEngine
from fedproxy.config.home import endpoint_dir

PARSL = "bench-parsl"


def parsl_config(workers: int) -> EndpointConfig:
    """One block of ``workers`` workers on this machine; encrypted, as it is by default."""
    engine = ParslEngine(provider={"type": "LocalProvider", "init_blocks": 1, "min_blocks": 1, "max_blocks": 1}, max_workers=workers)
    return evolve(endpoint_config(workers, PARSL), engine=engine)


@contextmanager
def parsl_session(host: Host) -> Iterator[Executor]:
    """An executor on an endpoint with the parsl engine, beside the one with the local engine; its workers have answered."""
    host.shared(fedproxy_session.session)
    module = [sys.executable, "-m", __name__, str(host.workers)]
    with (
        cleared(parsl_config(host.workers).store_urls()),
        fedproxy_session.started(module, ready=endpoint_dir(PARSL) / "agent.json"),
        Executor(endpoint_id=PARSL) as executor,
    ):
        for future in [executor.submit(abs, -1) for _ in range(4 * host.workers)]:
            future.result(120)
        yield executor


def local(host: Host) -> FedproxyPool:
    """The local engine."""
    return FedproxyPool(host.shared(fedproxy_session.session))


def parsl(host: Host) -> FedproxyPool:
    """The parsl engine."""
    return FedproxyPool(host.shared(parsl_session))


def main(workers: str) -> None:
    """Be the endpoint; until TERM."""
    from fedproxy.endpoint.serve import run

    run(parsl_config(int(workers)))


if __name__ == "__main__":
    main(sys.argv[1])
