"""How a worker process comes to be: its process, and the socket over which it will talk."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from typing import Protocol

from attrs import field, frozen

from fedproxy.endpoint.berth import Berth

MARK = "FEDPROXY_WORKER"
BUFFER_BYTES = 1 << 20


@frozen
class Started:
    """A process that was started for a worker."""

    process: subprocess.Popen[bytes]
    """The worker itself, or the client of a container runtime: it ends when the worker ends."""
    channel: socket.socket
    """Connected to the worker; or, with ``listening``, waiting for it to connect (once)."""
    listening: bool = False
    remove: tuple[str, ...] = ()
    """Command line that ends the worker for certain when killing the process is not enough."""
    mark: str = ""
    """In the environment of the worker and of all that it starts, as `MARK`."""


class Starter(Protocol):
    """Starts a worker process."""

    def start(self, number: int, out: int, err: int) -> Started:
        """A process with its standard output and error in these files, in a session of its own.

        Raises:
            OSError: it could not be started.
        """


@frozen
class Bare:
    """A worker in this endpoint's own Python, on a socket pair."""

    berth: Berth = field(factory=lambda: Berth(0))

    def start(self, number: int, out: int, err: int) -> Started:
        """See `Starter`."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            widen(end)
        descriptor, mark = theirs.fileno(), secrets.token_hex(16)
        process = subprocess.Popen(
            self.berth.command([sys.executable, "-m", "fedproxy.endpoint.worker", str(descriptor), str(os.getpid())]), pass_fds=(descriptor,),
            env={**os.environ, **self.berth.environment, MARK: mark}, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        self.berth.settle(process.pid)
        theirs.close()
        return Started(process, ours, mark=mark)


def widen(end: socket.socket) -> None:
    """Room for large messages."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        end.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
