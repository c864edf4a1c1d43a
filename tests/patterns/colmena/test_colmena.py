"""Real Colmena on fedproxy: the same applications with Colmena's own local task server and with ours give the same results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedproxy.config.home import host_id
from fedproxy.errors import ConfigError
from fedproxy.store import Store
from fedproxy.testing.servers import redis_alone
from fedproxy.testing.servers import running as serving
from tests.programs import Programs

pytest.importorskip("colmena")
pytestmark = pytest.mark.timeout(540)

APPS = Path(__file__).with_name("apps.py")


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(redis_alone(tmp_path_factory.mktemp("redis"), password="")) as server:
        yield server.port


def found_by(app: str, server: str, running: Programs, folder: Path, port: int, *more: str) -> object:
    environment = {**os.environ, "FEDPROXY_HOME": str(running.home), "PYTHONWARNINGS": "default"}
    command = [sys.executable, str(APPS), app, server, str(folder), str(port), *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.split("FOUND ", 1)[1])


@pytest.mark.slow
@pytest.mark.parametrize("app", ["decorators", "streaming", "retries", "executables"])
def test_an_application_finds_the_same_with_either_server(app: str, running: Programs, tmp_path: Path, redis_port: int) -> None:
    ours, theirs = (found_by(app, server, running, tmp_path, redis_port) for server in ("fedproxy", "local"))
    assert ours == theirs
    assert ours


@pytest.mark.slow
def test_a_thousand_arrays_of_a_megabyte_go_in_and_out_by_proxy(running: Programs, tmp_path: Path, redis_port: int) -> None:
    stores = [f"shm://{host_id()}/{running.site('colmena')}-{server}" for server in ("fedproxy", "local")]
    try:
        ours, theirs = (
            found_by("proxied", server, running, tmp_path, redis_port, store) for server, store in zip(("fedproxy", "local"), stores, strict=True))
    finally:
        for url in stores:
            Store.from_url(url).close(clear=True)
    assert ours == theirs == {"total": sum(range(1, 1_001)), "wrong": 0, "proxied": 1_000}


def test_a_method_without_an_endpoint_and_two_of_one_name_are_errors() -> None:
    from colmena.queue import PipeQueues

    from fedproxy.patterns.colmena import FedproxyTaskServer

    def simulate(x: float) -> float:
        return x

    with pytest.raises(ConfigError, match="simulate has no endpoint"):
        FedproxyTaskServer([simulate], PipeQueues(topics=[]))
    with pytest.raises(ConfigError, match="two methods are called"):
        FedproxyTaskServer([simulate, simulate], PipeQueues(topics=[]), endpoint="local")
