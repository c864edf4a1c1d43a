"""Command lines of container runtimes. Those that cannot be had here (docker's daemon, apptainer, singularity, shifter) are driven through a
recording stand-in on PATH: it notes its arguments and runs the worker without any container. What the real ones make of the arguments is not
tested by it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from fedproxy.config.containers import Containers
from fedproxy.endpoint.containers.plan import Interpreter, plan_for
from fedproxy.endpoint.containers.runtimes import Launch, Mount, runtime_of
from fedproxy.errors import ConfigError, ImageMissingError
from tests.endpoint.containers.conftest import Engine

WORKER = ("/opt/python", "-m", "fedproxy.endpoint.worker", "--connect", "/run/1/worker")
LAUNCH = Launch("lab/tools:2", WORKER, "fedproxy-1", "/", (Mount("/opt", "/opt"), Mount("/data", "/in", writable=True)), ("LANG", "FEDPROXY_HOME"), (1000, 100))

STAND_IN = """#!{python}
import json, os, sys
with open({record!r}, "a") as file:
    file.write(json.dumps(sys.argv) + "\\n")
if "--connect" in sys.argv:
    path = sys.argv[sys.argv.index("--connect") + 1]
    os.execv({python!r}, [{python!r}, "-m", "fedproxy.endpoint.worker", "--connect", path])
sys.exit(1 if "missing" in sys.argv[-1] else 0)
"""


def command(runtime: str, launch: Launch = LAUNCH, **options: str) -> str:
    found = runtime_of(Containers(runtime=runtime, **options))
    assert found is not None
    return shlex.join(found.start(launch))


def test_podman_and_docker() -> None:
    line = command("podman")
    assert line.startswith("podman run --rm --name fedproxy-1 --network host --uts host")
    assert "--pull never" in line
    assert "--userns=keep-id --volume=/opt:/opt:ro --volume=/data:/in --env=LANG --env=FEDPROXY_HOME" in line
    assert line.endswith("--entrypoint=/opt/python lab/tools:2 -m fedproxy.endpoint.worker --connect /run/1/worker")
    assert "--user 1000:100" in command("docker")


def test_apptainer_and_singularity() -> None:
    rest = "exec --pwd / --bind /opt:/opt:ro --bind /data:/in lab/tools:2 /opt/python -m fedproxy.endpoint.worker --connect /run/1/worker"
    assert command("apptainer") == f"apptainer {rest}"
    assert command("singularity") == f"singularity {rest}"


def test_shifter() -> None:
    assert command("shifter") == (
        "shifter --image=lab/tools:2 --workdir=/ --volume=/opt:/opt:ro --volume=/data:/in -- /opt/python -m fedproxy.endpoint.worker --connect /run/1/worker")


def test_charliecloud_leaves_out_what_it_shares_anyway() -> None:
    launch = Launch("/images/a", WORKER, "n", "/", (Mount("/opt", "/opt"), Mount("/dev/shm", "/dev/shm"), Mount("/tmp/x", "/tmp/x")))
    assert command("charliecloud", launch) == "ch-run --bind=/opt:/opt --cd=/ /images/a -- /opt/python -m fedproxy.endpoint.worker --connect /run/1/worker"


def test_a_custom_command_line_is_filled_in_word_by_word() -> None:
    line = command("custom", custom="bwrap --bind {image} / {mounts} --chdir {workdir} {command}")
    assert line == (
        "bwrap --bind lab/tools:2 / --ro-bind /opt /opt --bind /data /in --chdir / /opt/python -m fedproxy.endpoint.worker --connect /run/1/worker")
    quoted = command("custom", Launch("a b", ("p", "x y"), "n", "/"), custom="ssh node 'run {image} {command}'")
    assert quoted == shlex.join(["ssh", "node", "run a b p 'x y'"])


@pytest.mark.parametrize(("custom", "said"), [("", "empty"), ("run {image}", "{command}"), ("run 'x {command}", "quot")])
def test_a_template_that_cannot_work_is_refused(custom: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        runtime_of(Containers(runtime="custom", custom=custom))


def test_values_of_variables_are_never_on_the_command_line_and_the_token_goes_nowhere() -> None:
    python = Interpreter("/opt/py/bin/python", "/opt/py", "/opt/venv", "/opt/src/fedproxy", ("/opt/venv/lib/site-packages", "/opt/src"))
    secret = "hunter2-in-the-environment"
    plan = plan_for(Containers(), python, (), {"FEDPROXY_TOKEN": secret, "FEDPROXY_REDIS_PASSWORD": secret, "AWS_SECRET_ACCESS_KEY": secret, "LANG": "C"})
    launch = plan.launch(Containers(), "image", "name", Path("/run/1/worker"))
    for name in ("podman", "docker", "apptainer", "singularity", "shifter", "charliecloud"):
        assert secret not in command(name, launch)
    assert "FEDPROXY_TOKEN" not in plan.environment
    assert {"FEDPROXY_REDIS_PASSWORD", "LANG"} <= set(plan.passed)
    assert "AWS_SECRET_ACCESS_KEY" not in plan.passed


def test_the_own_interpreter_is_mounted_unless_it_would_hide_the_image() -> None:
    own = Interpreter("/opt/venv/bin/python", "/opt/py", "/opt/venv", "/opt/venv/lib/site-packages/fedproxy", ("/opt/venv/lib/site-packages",))
    plan = plan_for(Containers(), own, (), {})
    assert plan.python == "/opt/venv/bin/python"
    assert {"/opt/py", "/opt/venv"} <= {m.source for m in plan.mounts}
    system = Interpreter("/usr/bin/python3", "/usr", "/usr", "/home/me/lib/fedproxy", ("/home/me/lib/site-packages", "/home/me/lib"))
    plan = plan_for(Containers(), system, (), {})
    assert plan.python == "python3"
    assert "/usr" not in {m.source for m in plan.mounts}
    assert plan.environment["PYTHONPATH"] == "/home/me/lib/site-packages:/home/me/lib"


@pytest.mark.parametrize(("runtime", "program", "asks"), [
    ("docker", "docker", ["docker", "image", "inspect"]), ("apptainer", "apptainer", ["apptainer", "inspect"]),
    ("singularity", "singularity", ["singularity", "inspect"]), ("shifter", "shifter", ["shifterimg", "lookup"]),
])
def test_the_engine_starts_workers_by_a_recording_stand_in(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, program: str, asks: list[str],
) -> None:
    record = tmp_path / "record"
    for name in {program, asks[0]}:
        stand_in = tmp_path / "bin" / name
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(STAND_IN.format(python=sys.executable, record=str(record)))
        stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    engine.start(Containers(runtime=runtime), max_workers=1)
    assert engine.run(divmod, 7, 2, container="lab/tools") == (3, 1)
    failure = engine.failure(engine.submit(divmod, 7, 2, container="missing"))
    assert isinstance(failure, ImageMissingError)
    lines = [[Path(line[0]).name, *line[1:]] for line in map(json.loads, record.read_text().splitlines())]
    assert lines[0][:len(asks)] == asks
    (start,) = [line for line in lines if "--connect" in line]
    assert start[0] == program
    assert any("lab/tools" in word for word in start)
