"""The parent's end of a driver process."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from benchmarks.processes import MARK, ProcessGroup

TAIL_CHARS = 600
CLOSE_S = 20.0
REPOSITORY = Path(__file__).resolve().parent.parent


class DriverError(Exception):
    """The driver died or said nothing in time; the message holds the end of what it printed."""


class NoAnswerError(DriverError):
    """The driver said nothing in time."""


class RemoteDriver:
    """Starts ``benchmarks.driver`` and asks it things. One request at a time."""

    def __init__(self, module: str, *, directory: Path, workers: int, environment: Mapping[str, str]) -> None:
        self._group = ProcessGroup()
        directory.mkdir(parents=True)
        self._log_path = directory / "driver.log"
        self._log: IO[bytes] = self._log_path.open("wb")
        self._buffer = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.driver", module, str(directory), str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=directory,
            env={**_inherited(), **environment, MARK: self._group.mark, "PYTHONPATH": _python_path()},
        )

    def pids(self) -> list[int]:
        """Every process of this system."""
        return self._group.pids()

    def send(self, request: Mapping[str, Any]) -> None:
        """Ask without waiting. A driver that is gone says so when its answer is received."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The next reply.

        Raises:
            NoAnswerError: no reply within ``timeout_s``.
            DriverError: the process ended.
        """
        deadline = time.monotonic() + timeout_s
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise NoAnswerError(f"no answer within {timeout_s:.0f} s: {self.tail()}")
                data = os.read(self._process.stdout.fileno(), 65536)
                if not data:
                    raise DriverError(f"its driver process ended: {self.tail()}")
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def tail(self) -> str:
        """The end of what the system printed."""
        with suppress(OSError):
            return self._log_path.read_text(errors="replace")[-TAIL_CHARS:].strip()
        return ""

    def hang_up(self) -> None:
        """Ask the driver to end; idempotent. Its system starts to close itself."""
        self._group.pids()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def close(self, *, wait_s: float = CLOSE_S) -> int:
        """Let the system end, then end what is left of it; idempotent. How many processes it left behind."""
        self.hang_up()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
        left = self._group.end() if self._group.wait_gone(1.0) else 0
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._log.close()
        return left


def _inherited() -> dict[str, str]:
    """This environment, but with bytecode kept: compiling Parsl and Ray anew in each of their processes takes them 20 s."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
