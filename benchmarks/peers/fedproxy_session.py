"""fedproxy whole: a private service and one endpoint, as programs, in a temporary folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.host import Host
from fedproxy import Executor, Store
from fedproxy.config.endpoint import EndpointConfig, LocalEngine
from fedproxy.config.home import endpoint_dir, service_dir
from fedproxy.config.service import ServiceConfig

ENDPOINT = "bench"
START_S = 30.0
STOP_S = 15.0


class ProgramError(Exception):
    """The service or the endpoint did not start."""


@contextmanager
def program(*arguments: str, ready: Path) -> Iterator[None]:
    """This module as a program; entered when the file ``ready`` is there, ended by TERM."""
    with started([sys.executable, "-m", __name__, *arguments], ready=ready):
        yield


@contextmanager
def started(command: Sequence[str], *, ready: Path) -> Iterator[None]:
    """The same for any program."""
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + START_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ProgramError(f"{' '.join(command[1:])} did not start: exit code {process.returncode}")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def endpoint_config(workers: int, name: str = ENDPOINT, stores: tuple[str, ...] = ()) -> EndpointConfig:
    """An endpoint of a site of its own: nobody else's objects share its stores."""
    site = f"bench-{hashlib.sha256(os.environ['FEDPROXY_HOME'].encode()).hexdigest()[:12]}"
    return EndpointConfig(name=name, site=site, engine=LocalEngine(max_workers=workers), stores=stores)


@contextmanager
def cleared(urls: Sequence[str]) -> Iterator[None]:
    """Remove what is left in the stores ``urls`` at the end."""
    try:
        yield
    finally:
        for url in urls:
            Store.from_url(url).close(clear=True)


@contextmanager
def session(host: Host) -> Iterator[Executor]:
    """An executor on a running endpoint with ``host.workers`` workers."""
    with running(host.directory / "home", host.workers), Executor(endpoint_id=ENDPOINT) as executor:
        yield executor


@contextmanager
def running(home: Path, workers: int, *stores: str) -> Iterator[None]:
    """A service and one endpoint, with ``stores`` or its own."""
    os.environ["FEDPROXY_HOME"] = str(home)
    with (
        cleared(endpoint_config(workers, stores=stores).store_urls()),
        program("service", ready=service_dir() / "service.json"),
        program("endpoint", str(workers), ENDPOINT, *stores, ready=endpoint_dir(ENDPOINT) / "agent.json"),
    ):
        yield


def main(kind: str, workers: str = "", name: str = ENDPOINT, *stores: str) -> None:
    """Be the service, or the endpoint (``unbatched``: one that takes no more tasks than it has workers); until TERM."""
    if kind == "service":
        from fedproxy.service.server import serve

        serve(ServiceConfig())
    else:
        from fedproxy.endpoint import agent
        from fedproxy.endpoint.serve import run

        if kind == "unbatched":
            agent._CREDIT = int(workers)
        run(endpoint_config(int(workers), name, stores))


if __name__ == "__main__":
    main(*sys.argv[1:])
