"""``fedproxy up``, ``down``, ``status`` and ``endpoint`` with the real service and agent."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest


def status(cli):
    return json.loads(cli("status", "--json").stdout)


@pytest.fixture
def up(cli):
    done = cli("up", "--workers", "1")
    assert done.returncode == 0, done.stderr
    return done


def test_up_is_ready_when_it_returns_and_twice_is_fine(cli, up):
    first = status(cli)
    assert first["service"]["ready"]
    assert [each["state"] for each in first["endpoints"]] == ["connected"]
    again = cli("up")
    assert again.returncode == 0
    assert again.stdout == up.stdout
    second = status(cli)
    assert second["service"]["pid"] == first["service"]["pid"]
    assert second["endpoints"][0]["pid"] == first["endpoints"][0]["pid"]


def test_down_leaves_no_process_and_twice_is_fine(cli, up, home, alive_below, wait_until):
    assert alive_below(home)
    done = cli("down", "--json")
    assert json.loads(done.stdout) == {"service": True, "endpoints": ["local"]}
    wait_until(lambda: not alive_below(home), timeout_s=3)
    assert json.loads(cli("down", "--json").stdout) == {"service": False, "endpoints": []}


def test_a_task_runs_on_what_up_started(cli, up, as_user):
    import fedproxy

    with fedproxy.Executor(endpoint_id="local") as executor:
        assert executor.submit(sum, [1, 2, 3]).result(timeout=30) == 6


def test_up_repairs_what_was_killed(cli, up, wait_until):
    before = status(cli)
    os.kill(before["service"]["pid"], signal.SIGKILL)
    os.kill(before["endpoints"][0]["pid"], signal.SIGKILL)
    wait_until(lambda: not status(cli)["service"]["running"])
    assert cli("up").returncode == 0
    after = status(cli)
    assert after["endpoints"][0]["state"] == "connected"
    assert after["endpoints"][0]["endpoint_id"] == before["endpoints"][0]["endpoint_id"]


def test_an_endpoint_lives_through_its_commands(cli, up, home):
    assert cli("endpoint", "configure", "second", "--workers", "1").returncode == 0
    assert cli("endpoint", "status", "second").returncode == 3
    assert cli("endpoint", "start", "second", "--detach").returncode == 0
    told = json.loads(cli("endpoint", "status", "second", "--json").stdout)
    assert (told["state"], told["workers"]) == ("connected", 1)
    names = [each["name"] for each in json.loads(cli("endpoint", "list", "--json").stdout)]
    assert names == ["local", "second"]

    restarted = cli("endpoint", "restart", "second")
    assert restarted.returncode == 0, restarted.stderr
    again = json.loads(cli("endpoint", "status", "second", "--json").stdout)
    assert again["endpoint_id"] == told["endpoint_id"]
    assert again["pid"] != told["pid"]

    lines = json.loads(cli("endpoint", "logs", "second", "--json").stdout)["lines"]
    assert cli("endpoint", "logs", "second", "--lines", "0").stdout == ""
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [A-Z]+ fedproxy", line) for line in lines), lines
    refused = cli("endpoint", "delete", "second")
    assert refused.returncode == 1
    assert "is running" in refused.stderr
    assert cli("endpoint", "stop", "second").stdout == "endpoint 'second' stopped\n"
    assert cli("endpoint", "delete", "second").returncode == 0
    assert not (home / "endpoints" / "second").exists()


def test_a_second_agent_for_the_same_endpoint_is_refused(cli, up):
    done = cli("endpoint", "start", "local")
    assert done.returncode == 1
    assert re.search(r"endpoint 'local' is running already \(pid \d+\)", done.stderr)


def test_secrets_are_neither_printed_nor_logged_nor_on_a_command_line(cli, up, home, alive_below):
    token = (home / "service" / "token").read_text().strip()
    assert len(token) >= 16
    printed = [cli(*each).stdout for each in (("status", "--json"), ("endpoint", "status", "local", "--json"))]
    logs = [path.read_text() for path in home.glob("**/*.log")]
    lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in alive_below(home)]
    assert not [text for text in (*printed, *logs, *lines) if token in text]
    assert (home / "service" / "token").stat().st_mode & 0o077 == 0


def test_a_service_that_listens_beyond_loopback_warns(cli):
    done = cli("service", "start", "--host", "0.0.0.0", "--detach")
    assert done.returncode == 0, done.stderr
    assert "unencrypted" in done.stderr
