"""Functions in containers from the command line to the status: real programs, real containers (bubblewrap)."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.endpoint.containers.plan import this_interpreter
from fedproxy.errors import ImageMissingError
from tests.endpoint.containers.conftest import BWRAP, require
from tests.endpoint.containers.images import make_image

CONFIG = """
engine:
  type: local
  max_workers: 3
containers:
  runtime: custom
  custom: {custom}
"""


def where_am_i():
    import pathlib

    path = pathlib.Path("/etc/fedproxy-image")
    return path.read_text() if path.exists() else "no container"


@pytest.fixture
def endpoint(cli, home, tmp_path):
    """A running endpoint with containers; gives its name and two images."""
    require("bwrap", "bubblewrap")
    python = this_interpreter()
    points = (python.base, python.prefix, python.package)
    images = [str(make_image(tmp_path / name, name, points)) for name in ("first", "second")]
    assert cli("endpoint", "configure", "boxes").returncode == 0
    (home / "endpoints" / "boxes" / "config.yaml").write_text(CONFIG.format(custom=json.dumps(BWRAP)))
    assert cli("up").returncode == 0
    started = cli("endpoint", "start", "boxes", "--detach")
    assert started.returncode == 0, started.stderr
    yield "boxes", images
    cli("endpoint", "stop", "boxes")


@pytest.fixture
def client(endpoint, home):
    """A client of the home's service."""
    info = json.loads((home / "service" / "service.json").read_text())
    with Client(info["url"], (home / "service" / "token").read_text()) as made:
        yield made


def report(cli):
    found = json.loads(cli("endpoint", "status", "boxes", "--json").stdout)["report"]
    return found and found["engine"].get("containers")


def in_containers(pids):
    """Of these processes, the workers in containers and the containers' own."""
    found = []
    for pid in pids:
        with suppress(OSError):
            if b"--connect" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


@pytest.mark.slow
def test_two_functions_with_two_images_and_their_warm_reuse_in_the_status(cli, endpoint, client, wait_until, alive_below, home):
    name, images = endpoint
    ids = [client.register_function(where_am_i, container=image) for image in images]
    assert len({*ids, client.register_function(where_am_i)}) == 3
    with Executor(name, client=client) as executor:
        assert [executor.submit_to_registered_function(i).result(60) for i in ids] == ["first", "second"]
        assert [executor.submit_to_registered_function(i).result(60) for i in ids * 4] == ["first", "second"] * 4
        assert executor.submit(where_am_i).result(60) == "no container"
    with Executor(name, client=client, container=images[1]) as executor:
        assert executor.submit(where_am_i).result(60) == "second"
        executor_missing = Executor(name, client=client, container="/no/such/image")
        with pytest.raises(ImageMissingError, match="/no/such/image"):
            executor_missing.submit(where_am_i).result(60)
        executor_missing.shutdown()

    wait_until(lambda: (report(cli) or {}).get("tasks") == 11, 30.0)
    containers = report(cli)
    assert containers["cold_starts"] == 2
    assert containers["warm"] == 9
    assert {image: containers["images"][image]["cold_starts"] for image in images} == dict.fromkeys(images, 1)
    people = cli("endpoint", "status", "boxes").stdout
    assert "cold starts" in people.lower()
    assert images[0] in people

    agent = json.loads((home / "endpoints" / "boxes" / "agent.json").read_text())["pid"]
    assert in_containers(alive_below(home))
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: not in_containers(alive_below(home)), 20.0)
