"""A network namespace for an endpoint, joined to the service's by a pair of virtual cards on which the kernel itself loses packets."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attrs import frozen

_RULE = ("-m", "statistic", "--mode", "random", "--probability")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@frozen
class Namespace:
    """Where the endpoint lives."""

    name: str
    service_side: str
    """The address of this machine on the cable."""
    endpoint_side: str

    @property
    def prefix(self) -> list[str]:
        """A command line behind this runs inside."""
        return ["ip", "netns", "exec", self.name]

    def lose(self, share: float) -> None:
        """From here on this share of the packets, each way, does not arrive."""
        for chain in ("INPUT", "OUTPUT"):
            _run(*self.prefix, "iptables", "-A", chain, *_RULE, str(share), "-j", "DROP")

    def limit(self, bits_per_s: int) -> None:
        """What leaves the namespace goes no faster than this."""
        _run(*self.prefix, "tc", "qdisc", "add", "dev", f"{self.name}-b", "root", "tbf", "rate", str(bits_per_s), "burst", "4kb", "latency", "400ms")

    def held_back(self) -> int:
        """How often a packet had to wait for the limit."""
        words = _run(*self.prefix, "tc", "-s", "qdisc", "show", "dev", f"{self.name}-b").split()
        return int(words[words.index("overlimits") + 1])

    def down(self) -> None:
        """Pull the cable."""
        _run(*self.prefix, "ip", "link", "set", f"{self.name}-b", "down")

    def up(self) -> None:
        """Put it in again."""
        _run(*self.prefix, "ip", "link", "set", f"{self.name}-b", "up")

    def lost(self) -> list[int]:
        """Packets that were dropped so far: of those coming in, and of those going out."""
        counted = [_run(*self.prefix, "iptables", "-L", chain, "-v", "-x", "-n") for chain in ("INPUT", "OUTPUT")]
        return [sum(int(line.split()[0]) for line in text.splitlines() if " DROP " in line) for text in counted]


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace that can be reached; gone at the end, with its rules. Skips where it cannot be made: for that one has to be root."""
    missing = [program for program in ("ip", "iptables", "tc") if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        why = f"this needs root, and {' and '.join(missing) or 'ip, iptables and tc'} (Debian packages iproute2 and iptables)"
        (pytest.fail if os.environ.get("CI") and os.geteuid() == 0 else pytest.skip)(why)
    name, net = f"fp{secrets.token_hex(3)}", f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(256)}"
    made = Namespace(name, f"{net}.1", f"{net}.2")
    outer, inner = f"{made.name}-a", f"{made.name}-b"
    _run("ip", "netns", "add", made.name)
    try:
        _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", made.name)
        _run("ip", "address", "add", f"{made.service_side}/30", "dev", outer)
        _run("ip", "link", "set", outer, "up")
        _run(*made.prefix, "ip", "address", "add", f"{made.endpoint_side}/30", "dev", inner)
        for device in ("lo", inner):
            _run(*made.prefix, "ip", "link", "set", device, "up")
        yield made
    finally:
        _run("ip", "netns", "delete", made.name)
