"""``fedproxy endpoint enable-on-boot``: what starts an endpoint when the machine does. Only ever written; running a command is the user's."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from fedproxy.cli import daemon
from fedproxy.config.home import home

_KEPT = ("FEDPROXY_SERVICE_URL", "FEDPROXY_SITE", "REDIS_SERVER", "PATH")
"""Of this environment. Not FEDPROXY_TOKEN: it is a secret, and others may read units."""

UNIT = """\
[Unit]
Description=fedproxy endpoint {name}
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
ExecStart={command}
{environment}
Restart=on-failure
RestartSec=10
KillMode=mixed
TimeoutStopSec=60

[Install]
WantedBy=default.target
"""


@frozen
class Plan:
    """``path`` holds ``text``; ``commands`` make it take effect, or undo it, and are left to the user."""

    path: Path
    text: str
    commands: tuple[str, ...]


def has_systemd() -> bool:
    """Whether this machine was started by systemd (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def unit_path(name: str) -> Path:
    """The user's unit of an endpoint."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user" / f"fedproxy-endpoint-{name}.service"


def cron_path(name: str) -> Path:
    """The line for crontab(1), where there is no systemd."""
    return home() / "endpoints" / name / "crontab"


def plan(name: str, *, systemd: bool, environment: Mapping[str, str]) -> Plan:
    """What starts the endpoint at boot."""
    kept = {"FEDPROXY_HOME": str(home())} | {key: environment[key] for key in _KEPT if environment.get(key)}
    command = daemon.command("endpoint", "start", name)
    if systemd:
        lines = "\n".join(f'Environment="{key}={_escaped(value)}"' for key, value in kept.items())
        unit = unit_path(name).name
        text = UNIT.format(name=name, command=" ".join(f'"{_escaped(word)}"' for word in command), environment=lines)
        return Plan(unit_path(name), text, (
            "systemctl --user daemon-reload", f"systemctl --user enable --now {unit}", "loginctl enable-linger   # also while you are not logged in"))
    assignments = " ".join(f"{key}={shlex.quote(value)}" for key, value in kept.items())
    line = f"@reboot {assignments} {shlex.join(command)} --detach".replace("%", r"\%")
    path = cron_path(name)
    return Plan(path, line + "\n", (f"(crontab -l 2>/dev/null; cat {shlex.quote(str(path))}) | crontab -",))


def undo(name: str) -> tuple[list[Path], tuple[str, ...]]:
    """The files to be removed, and the commands that make it take effect."""
    there = [path for path in (unit_path(name), cron_path(name)) if path.exists()]
    commands: tuple[str, ...] = ()
    if unit_path(name) in there:
        commands += (f"systemctl --user disable --now {unit_path(name).name}", "systemctl --user daemon-reload")
    if cron_path(name) in there:
        commands += (f"crontab -l | grep -v 'endpoint start {name} ' | crontab -",)
    return there, commands


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
