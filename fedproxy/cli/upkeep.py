"""``fedproxy endpoint doctor`` and ``enable-on-boot``: looking after the machine of an endpoint."""

from __future__ import annotations

import os
from typing import Annotated

from attrs import asdict
from cyclopts import Parameter

from fedproxy.cli import boot, exits, output
from fedproxy.cli.doctor import BAD, findings
from fedproxy.config import files
from fedproxy.config.home import private_dir, write_private

Json = Annotated[bool, Parameter(name="--json")]


def doctor(name: str = "", *, json: Json = False) -> int:
    """Check whether this machine has what an endpoint needs. Exit code 1 where something is missing.

    Parameters
    ----------
    name
        An endpoint whose configuration is checked, too.
    json
        One JSON document.
    """
    found = findings(name)
    bad = any(finding.level == BAD for finding in found)
    if json:
        output.emit_json({"ok": not bad, "findings": [asdict(finding) for finding in found]})
    else:
        output.table("Doctor", ("", "check", "found", "what to do"), [(each.level, each.check, each.found, each.advice) for each in found], wide=True)
    return exits.FAILED if bad else exits.OK


def enable_on_boot(name: str = "local", *, remove: bool = False, json: Json = False) -> int:
    """Write what starts an endpoint with the machine: a systemd user unit, or a line for cron. Nothing is executed: the commands are shown.

    Parameters
    ----------
    name
        Name of the endpoint.
    remove
        Take it away again.
    json
        One JSON document.
    """
    files.load_endpoint(name)
    if remove:
        paths, commands = boot.undo(name)
        for path in paths:
            path.unlink()
    else:
        made = boot.plan(name, systemd=boot.has_systemd(), environment=os.environ)
        private_dir(made.path.parent)
        write_private(made.path, made.text.encode())
        paths, commands = [made.path], made.commands
    if json:
        output.emit_json({"removed" if remove else "written": [str(path) for path in paths], "commands": list(commands)})
        return exits.OK
    for path in paths:
        output.say(f"{'removed' if remove else 'wrote'} {path}")
    if not paths:
        output.say(f"endpoint {name!r} was not enabled")
    if commands:
        output.say("now run:")
    for command in commands:
        output.say(f"  {command}")
    return exits.OK
