"""Tells the service what tasks write while they run.

Strategy: looks only while something runs, and sends only what is new; one message is under way at a time, so that a slow link is given less and is never
behind. A task that is over before anybody looked costs nothing: what it wrote comes with its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fedproxy.endpoint.engines.base import Engine, TellsWritten
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import Buffer, encode

_LOOK_S = 0.1
_AGAIN_S = 10.0


class Telling:
    """One for the agent. All on the loop's thread."""

    def __init__(self, engine: Engine, send: Callable[[list[Buffer]], bool]) -> None:
        self._engine = engine if isinstance(engine, TellsWritten) else None
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered_since: float | None = None

    def running(self) -> None:
        """Something may run: look from now on."""
        if self._timer is None and self._engine is not None:
            self._timer = self._loop.call_later(_LOOK_S, self._look)

    def heard(self) -> None:
        """The service has the last message."""
        self._unanswered_since = None

    def _look(self) -> None:
        self._timer = None
        load = self._engine.load() if self._engine is not None else None
        if self._engine is None or load is None or (load.workers == load.idle and not load.waiting):
            return
        self._timer = self._loop.call_later(_LOOK_S, self._look)
        now = self._loop.time()
        if self._unanswered_since is not None and now - self._unanswered_since < _AGAIN_S:
            return
        pieces = tuple(self._engine.written())
        if pieces and self._send([encode(m.Written(pieces))]):
            self._unanswered_since = now

    def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._engine = None
