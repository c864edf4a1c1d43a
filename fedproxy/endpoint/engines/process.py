"""One worker process as the local engine sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from fedproxy.endpoint.engines.base import Job
from fedproxy.endpoint.pipe import AgentPipe
from fedproxy.protocol.states import TaskState

_TAIL_BYTES = 4096
_TERM_GRACE_S = 2.0


@frozen
class Doom:
    """A worker is stopped because of this task, which then ends in this state."""

    task_id: bytes
    state: TaskState
    reason: str


class WorkerProcess:
    """A process, its pipe, and the jobs it was given in the order in which it runs them."""

    def __init__(self, number: int, logs: Path, on_frame: Callable[[WorkerProcess, memoryview], None],
                 on_death: Callable[[WorkerProcess], None]) -> None:
        self.number = number
        self.jobs: deque[Job] = deque()
        self.depth = 0
        """How many jobs it may hold, given those it holds."""
        self.known: set[bytes] = set()
        self.ready = False
        self.doomed: Doom | None = None
        """Why it is being stopped on purpose; None while it is not."""
        self.started = self.idle_since = time.monotonic()
        self.released = False
        """Let go because there was nothing to do."""
        self._log = logs / f"worker-{number}.log"
        self._on_death = on_death
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        descriptor = theirs.fileno()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fedproxy.endpoint.worker", str(descriptor), str(os.getpid())], pass_fds=(descriptor,),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        theirs.close()
        self.pid = self._process.pid
        self.pipe = AgentPipe(ours, lambda frame: on_frame(self, frame))
        self._loop = asyncio.get_running_loop()
        self._watch = os.pidfd_open(self.pid)
        self._loop.add_reader(self._watch, self._died)

    def _died(self) -> None:
        self._loop.remove_reader(self._watch)
        os.close(self._watch)
        self._watch = -1
        self._process.wait()
        self.kill()  # what the worker itself had started
        self.pipe.drain_and_close()
        self._on_death(self)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker and all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def stop(self, doom: Doom) -> None:
        """Stop it because of one of its jobs: SIGTERM, then SIGKILL if it takes its time."""
        if self.doomed is None:
            self.doomed = doom
            self.signal(signal.SIGTERM)
            self._loop.call_later(_TERM_GRACE_S, self._kill_if_alive)

    def _kill_if_alive(self) -> None:
        if self.alive:
            self.kill()

    def kill(self) -> None:
        """Kill the worker and all that it started."""
        self.signal(signal.SIGKILL)

    @property
    def alive(self) -> bool:
        """Whether its death has not been seen yet."""
        return self._watch >= 0

    def epitaph(self) -> str:
        """How it ended, and the end of what it wrote."""
        code = self._process.returncode
        if code is None:
            how = "is gone"
        elif code < 0:
            name = signal.Signals(-code).name
            how = f"was killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
        else:
            how = f"exited with code {code}"
        tail = self._tail()
        return f"worker {self.pid} {how}" + (f"; the end of its output:\n{tail}" if tail else "")

    def _tail(self) -> str:
        with suppress(OSError), self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace").strip()
        return ""
