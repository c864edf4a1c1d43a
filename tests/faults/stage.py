"""The stage for a fault: real programs that can be sabotaged and are restarted when they die, and a client that writes everything down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedproxy import errors
from fedproxy.config.locate import ServiceAddress
from fedproxy.endpoint.journal import replay
from fedproxy.wire.rest import RestClient
from tests.faults import sabotage
from tests.programs import Programs, wait_for

Sabotage = tuple[Any, ...]
"""(program, name of a function in `sabotage`, its arguments)."""


def seeds(short: int = 1) -> list[int]:
    """The seeds of this run: a few by default, all that ``FEDPROXY_FAULT_SEEDS`` names in the full matrix."""
    given = os.environ.get("FEDPROXY_FAULT_SEEDS", "")
    return [int(seed) for seed in given.replace(",", " ").split()] or list(range(1, short + 1))


FULL = bool(os.environ.get("FEDPROXY_FAULT_SEEDS"))
"""Whether this is the full matrix (`make test-faults`)."""


SHORT_S = 0.5


class Stage(Programs):
    """Programs with faults. Who is silent for three times `heartbeat_s` is given up: only a test that is about that makes it short, for what takes a program
    long to start on a busy machine is no silence."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.heartbeat_s = 5.0
        self._fired = home / "fired"
        self._fired.touch()
        self._sabotage: list[Sabotage] = []
        self._watching = threading.Event()
        self._watcher: threading.Thread | None = None
        self._lock = threading.RLock()
        self.restarts = 0

    def will(self, *faults: Sabotage) -> None:
        """Programs that are started from here on suffer these, and no others."""
        self._sabotage = list(faults)

    def _start(self, name: str, code: str, *args: str) -> subprocess.Popen[bytes]:
        program = "service" if name == "service" else "agent"
        faults: list[Sabotage] = [("service", "show_tables"), *self._sabotage]
        if any(where == "worker" for where, *_ in faults):
            faults.append(("agent", "sabotage_workers"))
        environment = {
            **os.environ, "FEDPROXY_HOME": str(self.home), sabotage.VARIABLE: json.dumps(faults), sabotage.FIRED: str(self._fired)}
        environment.pop("FEDPROXY_SERVICE_URL", None)
        code = f"from tests.faults import sabotage; sabotage.apply_all({program!r})\n{code}"
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([*self.prefix.get(name, []), sys.executable, "-c", code, *args], env=environment, stdout=log, stderr=log)
        self.running[name] = process
        self.seen.add(process.pid)
        return process

    def start_service(self, **options: object) -> None:
        with self._lock:
            super().start_service(**{"heartbeat_period_s": self.heartbeat_s, "heartbeat_grace": 3, **options})

    def start_endpoint(self, name: str = "local", workers: int = 2, *, wait: bool = True) -> None:
        with self._lock:
            super().start_endpoint(name, workers, wait=wait)

    def stop(self) -> None:
        """End everything, also what stands still."""
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        super().stop()

    def fired(self, words: str = "") -> list[str]:
        """The marks that faults have left, those with ``words`` in them."""
        return [line for line in self._fired.read_text().splitlines() if words in line]

    def mark(self, what: str) -> None:
        """A fault from outside has fired."""
        with self._fired.open("a") as file:
            file.write(f"{what}\n")

    @contextmanager
    def kept_running(self) -> Iterator[None]:
        """Whatever dies meanwhile is started again, without its fault."""
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.02):
                with self._lock:
                    for name, process in list(self.running.items()):
                        if process.poll() is not None and not stop.is_set():
                            self.revive(name)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join(30)

    def revive(self, name: str) -> None:
        """Start a dead program again, without its fault."""
        self.will(*(fault for fault in self._sabotage if fault[1] in ("through", "second_user")))
        self.restarts += 1
        if name == "service":
            self.start_service()
        else:
            self.start_endpoint(name, wait=False)

    def address(self) -> ServiceAddress:
        info = json.loads((self.home / "service" / "service.json").read_text())
        return ServiceAddress(info["url"], (self.home / "service" / "token").read_text())

    def registered(self, name: str = "local", timeout_s: float = 30.0) -> None:
        """Wait until the service knows the endpoint, whatever dies meanwhile."""
        def known() -> bool:
            with suppress(errors.ServiceError, OSError):
                address = self.address()
                rest = RestClient(address.url, address.token)
                try:
                    return any(e["name"] == name for e in rest.json("GET", "/v1/endpoints"))
                finally:
                    rest.close()
            return False

        wait_for(known, f"endpoint {name} to be registered", timeout_s)

    def info(self) -> dict[str, Any]:
        """What the service announced."""
        return dict(json.loads((self.home / "service" / "service.json").read_text()))

    def held(self, name: str = "local") -> int:
        """Tasks in an endpoint's journal that the service has not confirmed."""
        with suppress(FileNotFoundError):
            return len(replay((self.home / "endpoints" / name / "journal").read_bytes()))
        return 0


def eventually(stage: Stage, words: str, timeout_s: float = 30.0) -> None:
    """Wait for the mark of a fault."""
    wait_for(lambda: stage.fired(words), f"the fault {words!r} to fire", timeout_s)
