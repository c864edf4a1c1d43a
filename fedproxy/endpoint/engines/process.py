"""One worker process as the local engine sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from fedproxy.config.marked import kill_marked
from fedproxy.endpoint.engines.base import Catalog, Job
from fedproxy.endpoint.engines.launch import MARK, Bare, Starter
from fedproxy.endpoint.engines.written import Written
from fedproxy.endpoint.pipe import AgentPipe
from fedproxy.protocol import messages as m
from fedproxy.protocol import worker_messages as w
from fedproxy.protocol.codec import Buffer, encode
from fedproxy.protocol.states import TaskState

_MESSAGE_BYTES = 1024 * 1024
_TERM_GRACE_S = 2.0
_REMOVAL_S = 30.0


@frozen
class Doom:
    """A worker is stopped because of this task, which then ends in this state."""

    task_id: bytes
    state: TaskState
    reason: str
    body: bytes = b""
    """The exception, where the state is FAILED."""


class WorkerProcess:
    """A process, its pipe, and the jobs it was given in the order in which it runs them."""

    def __init__(self, number: int, logs: Path, on_frame: Callable[[WorkerProcess, memoryview], None],
                 on_death: Callable[[WorkerProcess], None], kind: str = "", starter: Starter = Bare()) -> None:  # noqa: B008 - stateless
        self.number = number
        self.kind = kind
        """The container image that it runs in; empty: none."""
        self.jobs: deque[Job] = deque()
        self.depth = 0
        """How many jobs it may hold, given those it holds."""
        self.known: set[bytes] = set()
        """Names of specs and functions that it has."""
        self.ready = False
        self.announced = False
        """Whether it has ever been ready."""
        self.up_since = 0.0
        """When it became ready (monotonic)."""
        self.fresh = bool(kind)
        """A container that was started for a waiting task and has not had one."""
        self.doomed: Doom | None = None
        """Why it is being stopped on purpose; None while it is not."""
        self.started = self.idle_since = self.busy_since = time.monotonic()
        self.removal: asyncio.Future[None] | None = None
        """Under way: the removal of a container that does not end with its client."""
        self.answered = 0
        """Tasks that it has run."""
        self.released = False
        """Let go because there was nothing to do."""
        self._written = Written(logs, number)
        self._on_death = on_death
        self._started = starter.start(number, *self._written.files)
        self._process, self._channel, self.pid = self._started.process, self._started.channel, self._started.process.pid
        self._on_frame = on_frame
        self._loop = asyncio.get_running_loop()
        self._watch = os.pidfd_open(self.pid)
        self._loop.add_reader(self._watch, self._died)
        self._pipe: AgentPipe | None = None
        if self._started.listening:
            self._channel.setblocking(False)
            self._loop.add_reader(self._channel, self._connected)
        else:
            self._pipe = AgentPipe(self._channel, self._receive)

    def _connected(self) -> None:
        """The worker in the container has found its socket. There is one worker: nobody else may connect."""
        with suppress(BlockingIOError):
            end, _ = self._channel.accept()
            self._stop_listening()
            self._channel = end
            self._pipe = AgentPipe(end, self._receive)

    def _stop_listening(self) -> None:
        self._loop.remove_reader(self._channel)
        path = self._channel.getsockname()
        with suppress(OSError):
            os.unlink(path)
            os.rmdir(os.path.dirname(path))  # its own
        self._channel.close()

    def _receive(self, frame: memoryview) -> None:
        self._on_frame(self, frame)

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send one frame to a worker that is ready."""
        if self._pipe is not None:
            self._pipe.send(parts)

    def give(self, jobs: Sequence[Job], catalog: Catalog) -> None:
        """Send jobs to be run in this order, and before them what it does not know of their specs and functions."""
        self._teach({job.task.spec for job in jobs} - self.known, catalog)
        batch: list[Job] = []
        size = 0
        for job in jobs:
            batch.append(job)
            size += len(job.payload)
            if size > _MESSAGE_BYTES:
                self.send(_run_message(batch))
                batch, size = [], 0
        if batch:
            self.send(_run_message(batch))

    def _teach(self, specs: set[bytes], catalog: Catalog) -> None:
        if not specs:
            return
        functions = {catalog.spec(name).function for name in specs} - self.known
        bodies = [(name, catalog.function(name)) for name in functions]
        blobs = tuple(m.Blob(name, len(body)) for name, body in bodies)
        self.send([encode(m.Catalog({name: catalog.encoded_spec(name) for name in specs}, blobs)), *(body for _, body in bodies)])
        self.known |= specs | functions

    def _died(self) -> None:
        self._loop.remove_reader(self._watch)
        os.close(self._watch)
        self._watch = -1
        self._process.wait()
        self.kill()  # what the worker itself had started
        if self._started.mark and self.jobs:  # its task may have started what left its session
            self._loop.run_in_executor(None, kill_marked, MARK, self._started.mark)
        if self._pipe is not None:
            self._pipe.drain_and_close()
        else:
            self._stop_listening()
        self._on_death(self)
        self._written.close()

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
        if self._started.remove and self.removal is None:
            if self._pipe is not None:
                with suppress(OSError):
                    self._channel.shutdown(socket.SHUT_RDWR)  # a worker in a container ends with its connection
            self.removal = self._loop.run_in_executor(None, _run_quietly, self._started.remove)
        self.signal(signal.SIGKILL)

    @property
    def written(self) -> Written:
        """What it has written, and to which of its jobs that belongs."""
        return self._written

    @property
    def alive(self) -> bool:
        """Whether its death has not been seen yet."""
        return self._watch >= 0

    def details(self) -> dict[str, object]:
        """For reports: process id, whether it has announced itself, how many jobs it holds, its container."""
        return {"pid": self.pid, "ready": self.ready, "jobs": len(self.jobs), **({"container": self.kind} if self.kind else {})}

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
        tail = self._written.epitaph()
        return f"worker {self.pid} {how}" + (f"; the end of its output:\n{tail}" if tail else "")


def _run_message(jobs: list[Job]) -> list[Buffer]:
    return [encode(w.Run(tuple(job.task for job in jobs))), *(job.payload for job in jobs)]


def _run_quietly(command: Sequence[str]) -> None:
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_REMOVAL_S, check=False)
