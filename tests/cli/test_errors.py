"""Trouble is one line and a hint on standard error, an exit code, and never a traceback."""

from __future__ import annotations

import json
import socket

import pytest

from fedproxy.cli import output
from fedproxy.cli.main import run
from fedproxy.errors import FedproxyError


@pytest.fixture
def busy_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def said(done):
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def test_help_and_version_end_well(cli):
    done = cli("--help")
    assert done.returncode == 0
    assert "demo" in done.stdout
    assert cli("--version").returncode == 0
    assert cli("endpoint", "start", "--help").returncode == 0


def test_a_command_that_does_not_exist_is_a_usage_error(cli):
    assert cli("bogus").returncode == 2
    assert cli("up", "--no-such-flag").returncode == 2
    assert cli("service", "start", "--port", "many").returncode == 2
    assert cli().returncode == 2


def test_a_port_in_use_is_named(cli, busy_port):
    for detach in ([], ["--detach"]):
        done = cli("service", "start", "--port", str(busy_port), *detach)
        assert done.returncode == 1
        assert said(done)[0] == f"error: cannot listen on 127.0.0.1 port {busy_port}: Address already in use"
        assert "--port" in said(done)[1]


def test_an_unwritable_home_says_what_to_set(cli, home):
    home.write_text("in the way")
    for command in (("up",), ("service", "start", "--detach"), ("endpoint", "configure", "x")):
        done = cli(*command)
        assert done.returncode == 1
        assert said(done)[0].startswith("error: cannot create ")
        assert said(done)[1] == "hint: set FEDPROXY_HOME to a folder that you can write"


def test_an_endpoint_without_a_service_says_which_command_starts_one(cli):
    assert cli("endpoint", "configure", "lab").returncode == 0
    done = cli("endpoint", "start", "lab", "--detach")
    assert done.returncode == 1
    assert said(done) == ["error: the service is not running", "hint: start it with: fedproxy up"]


def test_an_endpoint_that_is_not_configured_says_how_to(cli):
    for command in ("start", "stop", "restart", "status", "logs", "delete"):
        done = cli("endpoint", command, "nowhere")
        assert done.returncode == 1
        assert said(done)[-1] == "hint: fedproxy endpoint configure nowhere"


def test_a_wrong_line_in_a_configuration_is_named(cli, home):
    cli("endpoint", "configure", "lab")
    path = home / "endpoints" / "lab" / "config.yaml"
    path.write_text("engine:\n  max_workers: many\n")
    done = cli("endpoint", "start", "lab")
    assert done.returncode == 1
    assert said(done)[0] == f"error: {path}:2: engine.max_workers: expected a whole number, got 'many'"


def test_status_without_a_service_has_its_own_exit_code(cli):
    done = cli("status")
    assert done.returncode == 3
    assert done.stdout.strip() == "service is not running; start it with: fedproxy up"
    told = json.loads(cli("status", "--json").stdout)
    assert told["service"]["running"] is False
    assert told["endpoints"] == []


def test_asking_creates_nothing(cli, home):
    cli("status")
    cli("endpoint", "list")
    cli("down")
    assert not home.exists()


def test_the_password_of_a_url_is_never_printed(capsys):
    output.complain(FedproxyError("cannot reach redis://user:hunter2@host:1/0", hint="is redis://:hunter2@host up?"))
    shown = capsys.readouterr().err
    assert "hunter2" not in shown
    assert "redis://user:***@host:1/0" in shown


def test_an_interrupt_is_one_line_and_130(monkeypatch, capsys):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fedproxy.cli.local.state.service_state", interrupted)
    assert run(["status"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_an_error_over_several_lines_becomes_one(capsys):
    output.complain(FedproxyError("first\n  second"))
    assert capsys.readouterr().err == "error: first second\n"


@pytest.mark.parametrize(("size", "text"), [
    (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e8, "200.0 MB"), (5e12, "5000.0 GB"),
])
def test_sizes_are_read_by_people(size, text):
    assert output.human_bytes(size) == text


def test_a_service_without_its_libraries_says_what_to_install(cli, tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError(\"No module named 'uvicorn'\", name='uvicorn')")
    done = cli("service", "start", "--detach", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr == "error: the service ended at once: uvicorn is not installed\nhint: pip install 'fedproxy[service,endpoint]'\n"
