"""Forgets tasks that ended long ago."""

from __future__ import annotations

import time

from fedproxy.service.core import Core

_FORGET = "DELETE FROM tasks WHERE state >= 10 AND finished < ? AND done_seq < (SELECT max(done_seq) FROM tasks WHERE done_seq IS NOT NULL)"


class Retention:
    """Keeps what has ended for ``retention_s``, by a clock that steps of the wall clock do not hurry.

    A wall clock that jumps ahead would make everything old at once. So time counts here as the wall clock said when the service started, plus what
    has passed since; where the wall clock is behind that, it counts.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._wall, self._steady = time.time(), time.monotonic()

    def forget(self) -> None:
        """Delete what is older, with the next commit. The last ending stays: endings are counted on from it, and clients remember how far they have read."""
        now = min(time.time(), self._wall + time.monotonic() - self._steady)
        limit = now - self._core.config.retention_s
        other = self._core.commit.next.other
        other.append(lambda c: c.execute(_FORGET, (limit,)))  # type: ignore[arg-type]
        other.append(lambda c: c.execute("DELETE FROM attempts WHERE seq NOT IN (SELECT seq FROM tasks)"))  # type: ignore[arg-type]
        other.append(lambda c: c.execute("DELETE FROM transfers WHERE started < ?", (limit,)))  # type: ignore[arg-type]
        self._core.replicas.forget_expired()
        self._core.relay.forget_expired()
        self._core.commit.ask()
