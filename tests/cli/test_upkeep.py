"""Templates, doctor, enable-on-boot and completion."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fedproxy.cli import boot
from fedproxy.config import files
from fedproxy.config.templates import TEMPLATES


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_every_template_is_a_configuration_that_loads(name, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPROXY_HOME", str(tmp_path))
    files.write_endpoint("here", template=name)
    files.load_endpoint("here", env={})


def test_templates_are_chosen_by_name(cli, home):
    done = cli("endpoint", "configure", "cluster", "--template", "slurm")
    assert done.returncode == 0
    assert "marked EDIT" in done.stdout
    told = json.loads(cli("config", "show", "cluster", "--origin", "--json").stdout)
    assert told["engine.type"] == {"value": "parsl", "origin": f"{home / 'endpoints' / 'cluster' / 'config.yaml'}:5"}
    done = cli("endpoint", "configure", "other", "--template", "moon")
    assert done.returncode == 1
    assert "laptop, gpu, slurm" in done.stderr


def test_a_mistake_in_a_new_key_is_named_with_its_line(cli, home):
    cli("endpoint", "configure", "lab")
    path = home / "endpoints" / "lab" / "config.yaml"
    for text, said in (("redis:\n  nodes: 3\n  policy: allkeys-lru\n", f"{path}:3: redis.policy: expected one of noeviction"),
                       ("redis:\n  memory: lots\n", f"{path}:2: redis.memory: not a size: 'lots'"),
                       ("redis:\n  nods: 3\n", f"{path}:2: unknown key redis.nods"),
                       ("sandbox:\n  keep: never\n  use: shall\n", f"{path}:3: sandbox.use: expected one of shell, all, none, got 'shall'\n"),
                       ("engine:\n  cpu_affinity: scatter\n", f"{path}:2: engine.cpu_affinity: expected one of none, block, alternating, got 'scatter'\n")):
        path.write_text(text)
        done = cli("endpoint", "start", "lab", "--detach")
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {said}"), done.stderr


def test_doctor_says_what_is_missing_and_what_to_do(cli, home):
    done = cli("endpoint", "doctor", "--json")
    assert done.returncode == 1  # no service runs here
    told = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert told["service"]["level"] == "problem"
    assert "fedproxy up" in told["service"]["advice"]
    assert {"python", "disk", "shared memory", "permissions", "ports", "redis", "containers", "schedulers"} <= set(told)
    assert not home.exists()

    assert cli("up", "--workers", "1").returncode == 0
    done = cli("endpoint", "doctor", "local", "--json")
    told = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0, told
    assert told["clock"]["level"] == "ok"
    (home / "service" / "token").chmod(0o644)
    done = cli("endpoint", "doctor", "--json")
    assert done.returncode == 1
    assert f"chmod 600 {home / 'service' / 'token'}" in [each["advice"] for each in json.loads(done.stdout)["findings"]]
    assert cli("endpoint", "doctor").stdout.startswith("Doctor")


def test_doctor_looks_for_what_the_endpoint_needs(cli, home):
    cli("endpoint", "configure", "cluster", "--template", "kubernetes")
    done = cli("endpoint", "doctor", "cluster", "--json", env={"PATH": "/nowhere"})
    assert done.returncode == 1
    told = {each["found"]: each["level"] for each in json.loads(done.stdout)["findings"]}
    assert told["kubectl is not on PATH"] == "problem"
    assert told["lines that are still marked EDIT: 2"] == "note"


def test_enable_on_boot_writes_and_removes_and_executes_nothing(cli, home, tmp_path):
    cli("endpoint", "configure", "lab")
    env = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "FEDPROXY_TOKEN": "a-secret-token", "FEDPROXY_SERVICE_URL": "http://127.0.0.1:1"}
    told = json.loads(cli("endpoint", "enable-on-boot", "lab", "--json", env=env).stdout)
    (path,) = told["written"]
    text = Path(path).read_text()
    assert "endpoint" in text
    assert "lab" in text
    assert str(home) in text
    assert "a-secret-token" not in text
    assert told["commands"]
    removed = json.loads(cli("endpoint", "enable-on-boot", "lab", "--remove", "--json", env=env).stdout)
    assert removed["removed"] == [path]
    assert "was not enabled" in cli("endpoint", "enable-on-boot", "lab", "--remove", env=env).stdout


def test_a_unit_quotes_what_systemd_would_expand(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDPROXY_HOME", "/data/100% $mine")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    plan = boot.plan("lab", systemd=True, environment={})
    assert 'Environment="FEDPROXY_HOME=/data/100%% $$mine"' in plan.text
    assert plan.path == tmp_path / "systemd" / "user" / "fedproxy-endpoint-lab.service"
    assert any("enable --now" in command for command in plan.commands)
    line = boot.plan("lab", systemd=False, environment={}).text
    assert line.startswith("@reboot FEDPROXY_HOME='/data/100\\% $mine' ")
    assert line.endswith("endpoint start lab --detach\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(cli, shell):
    script = cli("completion", shell).stdout
    assert "fedproxy" in script
    assert "endpoint" in script
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=script, text=True, check=False).returncode == 0
