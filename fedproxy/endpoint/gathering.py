"""Results that end close to each other are sent together, where nobody loses anything by that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fedproxy.endpoint.engines.base import Engine
from fedproxy.endpoint.holdings import Ended
from fedproxy.protocol.flow import Pace

_MANY = 8
"""Tasks: while fewer are held, each result goes at once."""


class Gathering:
    """Gives results to ``send``: at once, or a moment later with others while the engine has much to do. They are in the journal meanwhile."""

    def __init__(self, engine: Engine, held: Callable[[], int], send: Callable[[list[Ended]], None]) -> None:
        self._engine, self._held, self._send = engine, held, send
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()
        self._ended: list[Ended] = []

    def add(self, ended: list[Ended]) -> None:
        """These have ended."""
        many = self._held() >= _MANY
        if many:
            self._pace.ended(len(ended), time.monotonic())
        else:
            self._pace.rest()
        if self._ended:
            self._ended += ended
        elif many and (wait_s := self._gather_s()):
            self._ended = ended
            self._loop.call_later(wait_s, self._flush)
        else:
            self._send(ended)

    def _gather_s(self) -> float:
        load = self._engine.load()
        return self._pace.gather_s(load.waiting, load.workers)

    def _flush(self) -> None:
        ended, self._ended = self._ended, []
        self._send(ended)
