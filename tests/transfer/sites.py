"""Several sites on one machine: each with a home and stores of its own, and blind to the stores of the others."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.store import Store, elsewhere
from tests.programs import Programs, wait_for

AGENT = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from fedproxy.config.endpoint import EndpointConfig, LocalEngine, Transfer
from fedproxy.endpoint.serve import run
name, site, store, workers, options = sys.argv[1:]
run(EndpointConfig(name, site=site, stores=(store,), engine=LocalEngine(max_workers=int(workers)), transfer=Transfer(**eval(options))))
"""


class Sites:
    """A service, and endpoints that share nothing but it. The client of the tests stands at ``client_site``."""

    def __init__(self, folder: Path, **service: object) -> None:
        self.folder = folder
        self.programs = Programs(folder)
        self.unique = secrets.token_hex(3)
        self.programs.start_service(**service)
        self.prefix: dict[str, list[str]] = {}
        self.options: dict[str, dict[str, object]] = {}
        """Site → what its endpoint was started with."""

    @property
    def service(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "service" / "service.json").read_text())
        return found

    def store_url(self, site: str) -> str:
        """The site's own store: a folder in its home."""
        return f"file://{self.folder / site / 'store'}"

    def store(self, site: str) -> Store:
        """The site's store, as a process at that site would open it."""
        store = Store.from_url(self.store_url(site))
        store.site = site
        return store

    def environment(self, site: str) -> dict[str, str]:
        return {
            **os.environ, "FEDPROXY_HOME": str(self.folder / site), "FEDPROXY_SITE": site, "FEDPROXY_REACH": "site",
            "FEDPROXY_SERVICE_URL": str(self.service["url"]), "FEDPROXY_TOKEN": (self.folder / "service" / "token").read_text()}

    def start(self, site: str, workers: int = 1, *, token: str = "", **transfer: object) -> None:
        """An endpoint named like its site."""
        (self.folder / site).mkdir(exist_ok=True)
        self.options[site] = transfer
        environment = self.environment(site) | ({"FEDPROXY_TOKEN": token} if token else {})
        options = {"give_up_s": 10.0, "stall_s": 5.0, **transfer}
        command = [*self.prefix.get(site, ()), sys.executable, "-c", AGENT, site, site, self.store_url(site), str(workers), repr(options)]
        with (self.folder / f"{site}.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.programs.running[site] = process
        self.programs.seen.add(process.pid)
        ready = self.folder / site / "endpoints" / site / "agent.json"

        def announced() -> bool:
            assert process.poll() is None, self.log(site)
            return ready.exists() and json.loads(ready.read_text())["pid"] == process.pid

        wait_for(announced, f"endpoint {site}", 40)

    def kill(self, site: str, number: signal.Signals = signal.SIGKILL) -> None:
        self.programs.kill(site, number)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def client(self) -> Client:
        return Client(str(self.service["url"]), (self.folder / "service" / "token").read_text())

    def transfers(self, client: Client, state: str = "done") -> list[dict[str, object]]:
        return [each for each in client.rest.json("GET", "/v1/transfers") if each["state"] == state]

    def wait_for_transfers(self, client: Client, count: int, state: str = "done") -> list[dict[str, object]]:
        """Reports come within a second or so."""
        wait_for(lambda: len(self.transfers(client, state)) >= count, f"{count} transfers {state}")
        return self.transfers(client, state)

    def stop(self) -> None:
        self.programs.stop()

    def __enter__(self) -> Sites:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def at_site(site: str, folder: Path, extra: Mapping[str, str] = {}) -> Iterator[None]:
    """This process is a client at ``site`` while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"FEDPROXY_SITE": site, "FEDPROXY_REACH": "site", "FEDPROXY_HOME": str(folder / f"client-{site}"), **extra}.items():
            patch.setenv(name, value)
        elsewhere.own_sites_only.cache_clear()
        yield
    elsewhere.own_sites_only.cache_clear()
