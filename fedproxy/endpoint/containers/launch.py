"""Starts worker processes inside containers.

Strategy: descriptors do not cross the boundary of every runtime, so the worker connects to a Unix socket. Each has a folder of its own, which
only this user may enter and only this container has mounted; the first connection is taken and the socket removed.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from pathlib import Path

from fedproxy.config.containers import Containers
from fedproxy.endpoint.containers.plan import Plan
from fedproxy.endpoint.containers.runtimes import Runtime
from fedproxy.endpoint.engines.launch import MARK, Started, widen
from fedproxy.endpoint.scratch import Scratch

_PATH_BYTES = 100
"""The kernel takes Unix socket paths of 107 bytes."""


class Channels:
    """A folder for the sockets of one engine's containers."""

    def __init__(self) -> None:
        self._scratch: Scratch | None = None

    def open(self, number: int) -> tuple[socket.socket, Path]:
        """A listening socket, and its path."""
        if self._scratch is None:
            runtime = os.environ.get("XDG_RUNTIME_DIR", "")
            base = runtime if runtime and len(runtime) < _PATH_BYTES - 40 and os.access(runtime, os.W_OK) else None
            self._scratch = Scratch("sockets", base)
        folder = self._scratch.path / str(number)
        folder.mkdir(mode=0o700)
        path = folder / "worker"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        widen(listener)
        listener.listen(1)
        return listener, path

    def close(self) -> None:
        """Remove the folder. Idempotent."""
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None


class InContainer:
    """Starts workers in one image."""

    def __init__(self, image: str, config: Containers, runtime: Runtime, plan: Plan, channels: Channels) -> None:
        self._image, self._config, self._runtime, self._plan, self._channels = image, config, runtime, plan, channels

    def start(self, number: int, out: int, err: int) -> Started:
        """See `Starter`."""
        listener, path = self._channels.open(number)
        name, mark = f"fedproxy-{secrets.token_hex(6)}", secrets.token_hex(16)
        launch = self._plan.launch(self._config, self._image, name, path)
        try:
            process = subprocess.Popen(
                self._runtime.start(launch), env={**self._plan.environment, MARK: mark}, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True)
        except OSError:
            listener.close()
            raise
        return Started(process, listener, listening=True, remove=tuple(self._runtime.remove(name) or ()), mark=mark)
