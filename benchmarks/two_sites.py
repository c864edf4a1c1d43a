"""Two sites for benchmarks: A has the service and the data, B computes. On loopback, or in two network namespaces over an emulated WAN.

Stores and copies lie in a memory file system: the links are measured, not the disk that others use too.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from attrs import define, frozen

from benchmarks.cases import UnsupportedCaseError
from benchmarks.wan_link import ADDRESSES

_START_S = 60.0
_SERVICE = """
import sys
from pathlib import Path
from fedproxy.config.service import ServiceConfig
from fedproxy.service.server import serve
serve(ServiceConfig(directory=Path(sys.argv[1]), host=sys.argv[2]))
"""
_AGENT = """
import logging
logging.basicConfig(level=logging.INFO)
import sys
from fedproxy.config.endpoint import EndpointConfig, LocalEngine, Transfer
from fedproxy.endpoint.serve import run
site, store, host, workers, prefetch, folder = sys.argv[1:]
transfer = Transfer(data_host=host, prefetch=prefetch == "1", folder=folder)
run(EndpointConfig(site, site=site, stores=(store,), engine=LocalEngine(max_workers=int(workers)), transfer=transfer))
"""


@frozen
class Link:
    """What lies between the sites. ``rtt_ms`` 0: loopback."""

    rtt_ms: float = 0.0
    rate_mbit: float = 100.0


@define
class Sites:
    """Running programs, and a client process at A that is asked over pipes."""

    folder: Path
    client: subprocess.Popen[str]

    def ask(self, **request: Any) -> dict[str, Any]:
        """One measurement; see ``benchmarks.staging_client``."""
        assert self.client.stdin is not None
        assert self.client.stdout is not None
        self.client.stdin.write(json.dumps(request) + "\n")
        self.client.stdin.flush()
        line = self.client.stdout.readline()
        if not line:
            raise RuntimeError(f"the client at A ended; see {self.folder}/client.log: {(self.folder / 'client.log').read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


@contextmanager
def two_sites(folder: Path, link: Link, workers: int) -> Iterator[Sites]:
    """Start everything; on leaving all of it is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        prefixes, addresses = stack.enter_context(_network(link))
        memory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fpbench-", dir="/dev/shm", ignore_cleanup_errors=True)))
        log = stack.enter_context((folder / "programs.log").open("ab"))

        def start(code: str, site: int, *arguments: str, environment: dict[str, str]) -> None:
            process = subprocess.Popen([*prefixes[site], sys.executable, "-c", code, *arguments], env=environment, stdout=log, stderr=log)
            stack.callback(_end, process)

        own = {**os.environ, "FEDPROXY_HOME": str(folder / "A"), "FEDPROXY_REACH": "site"}
        start(_SERVICE, 0, str(folder / "service"), addresses[0], environment=own)
        service = _wait_for(folder / "service" / "service.json")
        reach = {"FEDPROXY_SERVICE_URL": str(service["url"]), "FEDPROXY_TOKEN": (folder / "service" / "token").read_text()}
        for place, site, prefetch in ((0, "A", "1"), (1, "B", "1"), (1, "L", "0")):
            environment = {**own, **reach, "FEDPROXY_HOME": str(folder / site), "FEDPROXY_SITE": site}
            start(_AGENT, place, site, f"file://{memory / site / 'store'}", addresses[place], str(workers), prefetch, str(memory / site / "data"),
                  environment=environment)
            _wait_for(folder / site / "endpoints" / site / "agent.json")
        errors = stack.enter_context((folder / "client.log").open("ab"))
        ready: IO[bytes] = errors
        client = subprocess.Popen(
            [*prefixes[0], sys.executable, "-m", "benchmarks.staging_client", str(memory), json.dumps([prefixes[1], addresses])],
            env={**own, **reach, "FEDPROXY_SITE": "A", "FEDPROXY_HOME": str(folder / "client")}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=ready,
            text=True)
        stack.callback(_end, client)
        yield Sites(folder, client)


@contextmanager
def _network(link: Link) -> Iterator[tuple[tuple[list[str], list[str]], tuple[str, str]]]:
    """Command prefixes that enter each site, and addresses."""
    if not link.rtt_ms:
        yield ([], []), ("127.0.0.1", "127.0.0.1")
        return
    if os.geteuid() != 0 or shutil.which("ip") is None or not os.path.exists("/dev/net/tun"):
        raise UnsupportedCaseError("network namespaces need root, iproute2 and /dev/net/tun")
    name = secrets.token_hex(3)
    sites = (f"fp-{name}-a", f"fp-{name}-b")
    with ExitStack() as stack:
        for site in sites:
            subprocess.run(["ip", "netns", "add", site], check=True)
            stack.callback(subprocess.run, ["ip", "netns", "delete", site], check=False)
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.wan_link", *sites, "--delay-ms", str(link.rtt_ms / 2), "--rate-mbit", str(link.rate_mbit)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(_end, process)
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise UnsupportedCaseError("the emulated WAN did not start")
        yield (["ip", "netns", "exec", sites[0]], ["ip", "netns", "exec", sites[1]]), (ADDRESSES[0], ADDRESSES[1])


def _wait_for(path: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
            return found
        except (OSError, ValueError):
            time.sleep(0.02)
    raise RuntimeError(f"{path.name} was not there after {_START_S:.0f} s")


def _end(process: subprocess.Popen[Any]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
