"""What the service holds: 100,000 queued tasks, through a ``kill -9`` and a restart; 1,000 idle clients and 50 agents."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import cast

from benchmarks.arrays import check_equal
from benchmarks.cases import Case, Sample
from benchmarks.functions import echo
from benchmarks.host import Host
from benchmarks.memory import MB, pss
from benchmarks.peers.fedproxy_session import ENDPOINT, ProgramError, cleared, endpoint_config, program
from benchmarks.processes import cpu_s, descriptors
from benchmarks.rows import Metric
from fedproxy import Executor
from fedproxy.config.home import endpoint_dir, read_json, service_dir
from fedproxy.config.locate import locate_service
from fedproxy.errors import ServiceUnavailableError
from fedproxy.wire.rest import RestClient

METRICS = (
    Metric("throughput", "tasks/s", "higher"),
    Metric("service_pss", "MB", "lower"),
    Metric("restart", "s", "lower"),
    Metric("restarted_pss", "MB", "lower"),
    Metric("drain", "tasks/s", "higher"),
    Metric("connect", "s", "lower"),
    Metric("service_cpu", "% of a core", "lower"),
    Metric("agents_cpu", "% of a core", "lower"),
    Metric("service_fds", "count", "lower"),
    Metric("p50", "ms", "lower"),
    Metric("p50_alone", "ms", "lower"),
)

SYSTEMS = {"fedproxy": "benchmarks.scale_service:itself"}
AGENTS = "agents"
RESTART_MOST_S = 60.0


def itself(host: Host) -> Host:
    """Each case starts what it needs, in a home of its own."""
    return host


def cases(quick: bool) -> Sequence[Case]:
    """Once each (quick: a tenth)."""
    queued, clients, agents, idle_s = (10_000, 100, 5, 3.0) if quick else (100_000, 1_000, 50, 20.0)
    nothing: dict[str, int | float | str] = {"tasks": 0, "clients": 0}
    return [
        Case(f"queued-{queued // 1000}k", {"tasks": queued}, nothing, 1),
        Case("idle-clients", {"clients": clients, "agents": agents, "seconds": idle_s}, nothing, 1),
    ]


@contextmanager
def home(host: Host, name: str) -> Iterator[None]:
    """A fresh FEDPROXY_HOME."""
    os.environ["FEDPROXY_HOME"] = str(host.directory / name)
    with cleared(endpoint_config(host.workers).store_urls()):
        yield


def service_pid() -> int:
    """The service's process."""
    return int(str((read_json(service_dir() / "service.json") or {})["pid"]))


# ---------------------------------------------------------------- tasks in the queue


def queued(case: Case, subject: object) -> Sample:
    """Submit to an endpoint that is offline, kill the service, start it, start the endpoint: every result comes."""
    host, tasks = cast("Host", subject), case.number("tasks")
    if not tasks:
        return {}
    with home(host, case.name), program("service", ready=service_dir() / "service.json"):
        with _endpoint(host):
            pass  # registered from here on, and offline
        with Executor(ENDPOINT) as executor:
            began = time.monotonic()
            futures = [executor.submit(echo, number) for number in range(tasks)]
            executor.flush()
            found = {"throughput": tasks / (time.monotonic() - began), "service_pss": pss([service_pid()]) / MB}
            os.kill(service_pid(), signal.SIGKILL)
            began = time.monotonic()
            with program("service", ready=service_dir() / "service.json"):
                _wait_until_served(began)
                found |= {"restart": time.monotonic() - began, "restarted_pss": pss([service_pid()]) / MB}
                began = time.monotonic()
                with _endpoint(host):
                    check_equal([future.result(RESTART_MOST_S * 5) for future in futures], list(range(tasks)))
                    found["drain"] = tasks / (time.monotonic() - began)
    return found


@contextmanager
def _endpoint(host: Host) -> Iterator[None]:
    with program("endpoint", str(host.workers), ready=endpoint_dir(ENDPOINT) / "agent.json"):
        yield


def _wait_until_served(began: float) -> None:
    while True:
        address = locate_service()
        client = RestClient(address.url, address.token)
        with suppress(ServiceUnavailableError):
            client.json("GET", f"/v1/endpoints/{ENDPOINT}")
            client.close()
            return
        client.close()
        if time.monotonic() > began + RESTART_MOST_S:
            raise ProgramError(f"the service did not serve within {RESTART_MOST_S} s of its restart")
        time.sleep(0.01)


# ---------------------------------------------------------------- connections


def idle(case: Case, subject: object) -> Sample:
    """Result streams that nothing comes on, agents that have nothing to do, and one task at a time beside them."""
    host, clients = cast("Host", subject), case.number("clients")
    if not clients:
        return {}
    with (
        home(host, case.name),
        program("service", ready=service_dir() / "service.json"),
        program("endpoint", str(host.workers), ready=endpoint_dir(ENDPOINT) / "agent.json"),
        Executor(ENDPOINT) as executor,
    ):
        _latency(executor)  # warm
        found = {"p50_alone": _latency(executor)}
        began = time.monotonic()
        with crowd_of_agents(case.number("agents")) as agents:
            return found | asyncio.run(_held(clients, agents, float(case.params["seconds"]), executor, began))


def _latency(executor: Executor, tasks: int = 200) -> float:
    times = []
    for number in range(tasks):
        before = time.perf_counter()
        check_equal(executor.submit(echo, number).result(30), number)
        times.append(time.perf_counter() - before)
    return 1e3 * median(times)


async def _held(clients: int, agents: int, seconds: float, executor: Executor, began: float) -> Sample:
    streams = await asyncio.gather(*(_open_stream(number) for number in range(clients)))
    found = {"connect": time.monotonic() - began}
    service, before_s = service_pid(), time.monotonic()
    cpu_before = cpu_s([service]), cpu_s([agents])
    await asyncio.sleep(seconds)
    elapsed = time.monotonic() - before_s
    found |= {
        "service_cpu": 100 * (cpu_s([service]) - cpu_before[0]) / elapsed, "agents_cpu": 100 * (cpu_s([agents]) - cpu_before[1]) / elapsed,
        "service_pss": pss([service]) / MB, "service_fds": float(descriptors([service]))}
    found["p50"] = await asyncio.to_thread(_latency, executor)
    check_equal([reader.at_eof() for reader, _ in streams], [False] * clients)
    for _, writer in streams:
        writer.close()
    return found


async def _open_stream(number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """What a client that waits for results looks like to the service."""
    address = locate_service()
    host, port = address.url.removeprefix("http://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /v1/groups/idle-{number}/results HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {address.token}\r\n\r\n".encode())
    status = await reader.readline()
    check_equal(status.split()[1], b"200")
    return reader, writer


@contextmanager
def crowd_of_agents(count: int) -> Iterator[int]:
    """``count`` agents without workers in one process, all online; gives its pid."""
    ready = Path(os.environ["FEDPROXY_HOME"]) / "agents.ready"
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.crowd", str(count), str(ready)])
    try:
        deadline = time.monotonic() + RESTART_MOST_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ProgramError(f"{count} agents did not start")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


MEASURES = {"queued": queued, "idle": idle}
