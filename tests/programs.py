"""Real programs for tests: a service and endpoints as processes of their own, in a home of their own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fedproxy.config.home import host_id
from fedproxy.dispatch.client import Client
from fedproxy.store import Store

_SERVICE = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.INFO)
from fedproxy.config.service import LimitsConfig, RelayConfig, ServiceConfig
from fedproxy.service.server import serve
serve(ServiceConfig(directory=Path(sys.argv[1]), **eval(sys.argv[2])))
"""
_AGENT = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from fedproxy.config.endpoint import EndpointConfig, LocalEngine
from fedproxy.endpoint.serve import run
run(EndpointConfig(sys.argv[1], site=sys.argv[3], engine=LocalEngine(max_workers=int(sys.argv[2]), **eval(sys.argv[4])), **eval(sys.argv[5])))
"""
_CONFIGURED = """
import logging, sys
logging.basicConfig(level=logging.INFO)
logging.getLogger("parsl").setLevel(logging.WARNING)
from fedproxy.config.files import load_endpoint
from fedproxy.endpoint.serve import run
run(load_endpoint(sys.argv[1], flags={("site",): sys.argv[2]}).value)
"""


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> object:
    """Poll until ``condition`` gives something true; fails loudly after the time-out."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Programs:
    """Starts, kills and restarts programs; at the end all must be gone."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.seen: set[int] = set()
        self.sites: set[str] = set()
        self._unique = secrets.token_hex(4)
        self.prefix: dict[str, list[str]] = {}
        """Program → what its command line is put behind."""

    def site(self, name: str) -> str:
        """The endpoint's site: nobody else's, so that its shared memory is not either."""
        return f"{name}-{self._unique}"

    def store_url(self, name: str = "local") -> str:
        """The endpoint's shared memory."""
        return f"shm://{host_id()}/{self.site(name)}"

    def _start(self, name: str, code: str, *args: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "FEDPROXY_HOME": str(self.home)}
        environment.pop("FEDPROXY_SERVICE_URL", None)
        log = (self.home / f"{name}.log").open("ab")
        process = subprocess.Popen([*self.prefix.get(name, []), sys.executable, "-c", code, *args], env=environment, stdout=log, stderr=log)
        log.close()
        self.running[name] = process
        self.seen.add(process.pid)
        return process

    def start_service(self, **options: object) -> None:
        ready = self.home / "service" / "service.json"
        ready.unlink(missing_ok=True) if not ready.exists() else None
        process = self._start("service", _SERVICE, str(self.home / "service"), repr(options))

        def announced() -> bool:
            assert process.poll() is None, self.log("service")
            return ready.exists() and json.loads(ready.read_text())["pid"] == process.pid

        wait_for(announced, "the service")

    def start_endpoint(self, name: str = "local", workers: int = 2, *, wait: bool = True, engine: dict[str, object] | None = None, **config: object) -> None:
        self.sites.add(self.site(name))
        process = self._start(name, _AGENT, name, str(workers), self.site(name), repr(engine or {}), repr(config))
        if wait:
            ready = self.home / "endpoints" / name / "agent.json"

            def announced() -> bool:
                assert process.poll() is None, self.log(name)
                return ready.exists() and json.loads(ready.read_text())["pid"] == process.pid

            wait_for(announced, f"endpoint {name}")

    def start_configured(self, name: str, config: str) -> None:
        """An endpoint with that ``config.yaml``."""
        self.sites.add(self.site(name))
        folder = self.home / "endpoints" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(config)
        process = self._start(name, _CONFIGURED, name, self.site(name))
        ready = folder / "agent.json"

        def announced() -> bool:
            assert process.poll() is None, self.log(name)
            return ready.exists() and json.loads(ready.read_text())["pid"] == process.pid

        wait_for(announced, f"endpoint {name}", 60)

    def workers(self, name: str = "local") -> list[int]:
        """Process ids of an endpoint's workers."""
        children = Path(f"/proc/{self.running[name].pid}/task/{self.running[name].pid}/children").read_text().split()
        self.seen.update(map(int, children))
        return [int(pid) for pid in children]

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        process = self.running.pop(name)
        if name != "service":
            try:
                self.seen.update(int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
            except OSError:
                pass
        process.send_signal(number)
        process.wait(20)

    def client(self) -> Client:
        info = json.loads((self.home / "service" / "service.json").read_text())
        return Client(info["url"], (self.home / "service" / "token").read_text())

    def stop(self) -> None:
        for name in sorted(self.running, key=lambda n: n == "service"):
            self.kill(name, signal.SIGTERM)
        wait_for(lambda: not [pid for pid in self.seen if alive(pid)], "every process to be gone")
        for site in self.sites:
            Store.from_url(f"shm://{host_id()}/{site}").close(clear=True)
