"""Who may be an endpoint, which service it obeys, and what it runs: with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

import fedproxy
from fedproxy.dispatch.functions import serialize_function
from fedproxy.errors import FunctionNotAllowedError

pytestmark = pytest.mark.slow


@pytest.fixture
def client(cli, as_user):
    """The service and the endpoint ``local`` run in ``home``; this process is its client."""
    done = cli("up", "--workers", "1")
    assert done.returncode == 0, done.stderr
    with fedproxy.Client() as made:
        yield made


def total(numbers):
    return sum(numbers)


def test_only_functions_that_the_owner_lists_run(cli, client, home):
    path = home / "endpoints" / "local" / "config.yaml"
    path.write_text(path.read_text() + f"allowed_functions:\n  - {serialize_function(total).hash.hex()}\n")
    assert cli("endpoint", "restart", "local").returncode == 0
    with fedproxy.Executor("local", client=client) as executor:
        assert executor.submit(total, [1, 2]).result(30) == 3
        with pytest.raises(FunctionNotAllowedError, match=r"does not run the function 'len'.*allowed_functions"):
            executor.submit(len, [1, 2]).result(30)
    path.write_text("allowed_functions: [everything]\n")
    done = cli("endpoint", "restart", "local")
    assert done.returncode == 1
    assert f"{path}:1: allowed_functions: 'everything' is no function id" in done.stderr


def double(home, clean_env, tmp_path):
    """Another home with a copy of the endpoint's folder: its keys are the same."""
    info = json.loads((home / "service" / "service.json").read_text())
    other = tmp_path / "double"
    shutil.copytree(home / "endpoints" / "local", other / "endpoints" / "local", ignore=shutil.ignore_patterns("pid", "agent.*", "*.sock"))
    environment = {**clean_env, "FEDPROXY_HOME": str(other), "FEDPROXY_SERVICE_URL": info["url"], "FEDPROXY_SITE": "elsewhere",
                   "FEDPROXY_TOKEN": (home / "service" / "token").read_text().strip()}
    command = [sys.executable, "-m", "fedproxy", "endpoint", "start", "local", "--workers", "1"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


def test_a_double_from_another_home_is_refused_and_changes_nothing(cli, client, home, clean_env, tmp_path):
    before = client.get_endpoint_status("local")
    with double(home, clean_env, tmp_path) as second, fedproxy.Executor("local", client=client) as executor:
        _, told = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "another agent is connected as endpoint 'local'" in told
        assert executor.submit(total, [4, 5]).result(30) == 9
    after = client.get_endpoint_status("local")
    assert after["online"]
    assert after["profile"] == before["profile"]


def test_an_agent_that_has_stopped_answering_gives_way_and_does_not_come_back(cli, client, home, clean_env, tmp_path, wait_until):
    first = json.loads(cli("endpoint", "status", "local", "--json").stdout)["pid"]
    os.kill(first, signal.SIGSTOP)
    second = double(home, clean_env, tmp_path)
    try:
        wait_until(lambda: (told := client.get_endpoint_status("local"))["online"] and told["profile"]["site"] == "elsewhere", timeout_s=60)
        os.kill(first, signal.SIGCONT)
        with fedproxy.Executor("local", client=client) as executor:
            assert executor.submit(os.getppid).result(60) == second.pid
        wait_until(lambda: json.loads(cli("endpoint", "status", "local", "--json").stdout)["pid"] is None, timeout_s=60)
        log = (home / "endpoints" / "local" / "endpoint.log").read_text()
        assert "another agent is connected as endpoint 'local'" in log
    finally:
        os.kill(first, signal.SIGCONT) if json.loads(cli("endpoint", "status", "local", "--json").stdout)["pid"] == first else None
        second.terminate()
        second.communicate(timeout=30)


def test_an_endpoint_obeys_the_service_that_it_met_first(cli, client, home):
    assert cli("down").returncode == 0
    (home / "service" / "identity.key").unlink()
    assert cli("service", "start", "--detach").returncode == 0
    refused = cli("endpoint", "start", "local", "--detach")
    assert refused.returncode == 1
    assert "the service is not the one that this endpoint belongs to" in refused.stderr
    assert cli("endpoint", "start", "local", "--detach", "--repin").returncode == 0
