"""Shell commands as functions. Imported by workers, so it imports little."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import Any

from attrs import frozen

from fedproxy.config.marked import kill_marked

_MARK = "FEDPROXY_SHELL"
TIMED_OUT = 124
"""The return code of a command that was stopped at its walltime, as of ``timeout(1)``."""


@frozen
class ShellResult:
    """How a command ended. ``stdout`` and ``stderr`` are the last lines of what it wrote."""

    cmd: str
    returncode: int
    stdout: str
    stderr: str


class ShellFunction:
    """A command line to be run at an endpoint: ``executor.submit(ShellFunction("echo {word}"), word="hello")``.

    Args:
        cmd: the command; ``{name}`` is replaced by the keyword arguments of the call. They are put in as they are: quote them where they may hold
            spaces or come from elsewhere (`shlex.quote`).
        walltime: seconds after which the command and all that it started is killed; its return code is then 124.
        snippet_lines: how many of the last lines of standard output and error the result holds.

    A call returns a `ShellResult`; a command that fails does so in its ``returncode``, not by an exception.
    """

    in_sandbox = True
    """Workers give it a folder of its own, unless their endpoint is told otherwise."""

    def __init__(self, cmd: str, *, walltime: float | None = None, snippet_lines: int = 1000, name: str | None = None) -> None:
        if walltime is not None and walltime <= 0:
            raise ValueError(f"walltime is a number of seconds above zero, or None, not {walltime!r}")
        self.cmd, self.walltime, self.snippet_lines = cmd, walltime, snippet_lines
        self.__name__ = name or cmd.split(maxsplit=1)[0]

    def __repr__(self) -> str:
        return f"ShellFunction({self.cmd!r})"

    def __call__(self, **values: Any) -> ShellResult:
        """Run the command here."""
        return self.run(self.cmd.format(**values))

    def run(self, command: str) -> ShellResult:
        """Run a command line here, under this function's walltime."""
        mark = secrets.token_hex(16)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(command, shell=True, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True,  # noqa: S602
                                       env={**os.environ, _MARK: mark})
            try:
                code = process.wait(self.walltime)
            except subprocess.TimeoutExpired:
                code = TIMED_OUT
                kill_marked(_MARK, mark)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            return ShellResult(command, code, self._tail(out), self._tail(err))

    def _tail(self, file: Any) -> str:
        file.seek(0)
        lines = file.read().decode(errors="replace").splitlines(keepends=True)
        return "".join(lines[-self.snippet_lines:])
