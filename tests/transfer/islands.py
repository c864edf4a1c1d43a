"""Sites that cannot see each other: each in a network, mount and host name space of its own, on one network with the service.

Every island has its own ``/dev/shm``, its own host name (so shared memory and data servers on loopback are not another's), and its own folder under
the same path: what a program reads in place by mistake is not there, or is something else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.programs import Programs, wait_for
from tests.transfer.sites import AGENT

SPACES = ("--net", "--mount", "--uts")
HUB = "10.77.0.254"
_HUB = f"ip link set lo up && ip link add lan type bridge && ip address add {HUB}/24 dev lan && ip link set lan up"
_ISLAND = """
hostname {name} && mount --bind {land}/{name} {here} && mount -t tmpfs none {land} && mount -t tmpfs none /dev/shm && ip link set lo up
"""


class Islands:
    """Namespaces, and programs in them; `stop` ends all of it."""

    def __init__(self, folder: Path, names: str) -> None:
        """Skips where namespaces cannot be made."""
        self.here = folder / "here"
        self._land = folder / "land"
        self._stack = ExitStack()
        self.address = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}
        self.extra: dict[str, str] = {}
        self.programs = Programs(folder)
        self._enter: dict[str, list[str]] = {}
        for path in (self.here, *(self._land / name for name in names)):
            path.mkdir(parents=True)
        try:
            self._hold("hub", [], _HUB)
            for name in names:
                self._add(name)
        except BaseException:
            self.stop()
            raise

    def _hold(self, name: str, outer: list[str], setup: str) -> int:
        """A process that keeps new namespaces alive until its standard input ends."""
        user = ["--user", "--map-root-user"] if os.geteuid() and not outer else []
        command = [*outer, "unshare", *user, *SPACES, "sh", "-c", f"set -e; {setup.strip()}; echo ready; exec cat"]
        process = self._stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        self._stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline().strip() != "ready":
            why = f"namespaces cannot be made here: {process.stderr.read().strip()}"
            (pytest.fail if os.environ.get("CI") and os.geteuid() == 0 else pytest.skip)(why)
        user = ["--user", "--preserve-credentials"] if os.geteuid() else []
        self._enter[name] = ["nsenter", "--target", str(process.pid), *user, *SPACES]
        return process.pid

    def _add(self, name: str) -> None:
        pid = self._hold(name, self._enter["hub"], _ISLAND.format(name=name, land=self._land, here=self.here))
        for where, command in (
            ("hub", f"ip link add to-{name} type veth peer name wan netns {pid}"), ("hub", f"ip link set to-{name} master lan up"),
            (name, f"ip address add {self.address[name]}/24 dev wan"), (name, "ip link set wan up"),
        ):
            subprocess.run([*self._enter[where], *command.split()], check=True)

    # ------------------------------------------------------------ programs

    def start_service(self, **options: object) -> None:
        """In the middle; every island reaches it."""
        self.programs.prefix["service"] = self._enter["hub"]
        self.programs.start_service(host=HUB, **options)

    def environment(self, site: str) -> dict[str, str]:
        folder = self.programs.home / "service"
        return {
            **os.environ, "FEDPROXY_HOME": str(self.here / site), "FEDPROXY_SITE": site, **self.extra,
            "FEDPROXY_SERVICE_URL": json.loads((folder / "service.json").read_text())["url"], "FEDPROXY_TOKEN": (folder / "token").read_text()}

    def start(self, site: str, island: str, store: str, **transfer: object) -> None:
        """An endpoint named like its site. See `wait`."""
        options = {"give_up_s": 10.0, "stall_s": 5.0, "data_host": self.address[island], **transfer}
        command = [*self._enter[island], sys.executable, "-c", AGENT, site, site, store, "1", repr(options)]
        with (self.programs.home / f"{site}.log").open("ab") as log:
            process = subprocess.Popen(command, env=self.environment(site), stdout=log, stderr=log)
        self.programs.running[site] = process
        self.programs.seen.add(process.pid)

    def wait(self) -> None:
        """Until every endpoint that was started is there."""
        for site in set(self.programs.running) - {"service"}:
            def announced(site: str = site) -> bool:
                assert self.programs.running[site].poll() is None, self.programs.log(site)
                return any(self._land.glob(f"*/{site}/endpoints/{site}/agent.json"))

            wait_for(announced, f"endpoint {site}", 40)

    def program(self, island: str, what: str, *arguments: str, site: str = "") -> Program:
        """One of `tests.transfer.islander`."""
        environment = {**os.environ, **self.extra, **(self.environment(site) if site else {})}
        command = [*self._enter[island], sys.executable, "-m", "tests.transfer.islander", what, *arguments]
        with (self.programs.home / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        made = Program(process)
        self._stack.callback(made.end)
        made.told = made.read()
        return made

    def run(self, island: str, *command: str) -> None:
        """Any other program; ended with the islands."""
        process = self._stack.enter_context(subprocess.Popen([*self._enter[island], *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        self._stack.callback(process.kill)

    def folder(self, island: str) -> Path:
        """An island's folder, as it is seen from outside."""
        return self._land / island

    def stop(self) -> None:
        try:
            for name in set(self.programs.running) - {"service"}:  # all at once, then one after the other
                self.programs.running[name].terminate()
            self.programs.stop()
        finally:
            self._stack.close()


class Program:
    """One of `tests.transfer.islander`, and what it told when it was ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.told: Any = None

    def read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"it ended: {self._process.args}"
        return json.loads(line)

    def ask(self, what: str, **request: object) -> Any:
        """Have the client do something; fails with what it failed with."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what, **request}) + "\n")
        self._process.stdin.flush()
        told = self.read()
        assert "error" not in told, told["error"]
        return told["answer"]

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.stdout.close()


def islands(folder: Path, names: str) -> Islands:
    """Skips where the programs for that are missing."""
    missing = [program for program in ("unshare", "nsenter", "ip", "mount") if shutil.which(program) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {' and '.join(missing)} (Debian packages util-linux and iproute2)")
    return Islands(folder, names)
