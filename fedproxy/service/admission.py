"""How much each user, and all together, may have under way: what is more is asked to come back later, before anything is read or kept of it.

Two things are bounded: bytes of requests that are being read or committed (they are in memory), and tasks that are not over (they are on disk, but their
places in the queues are in memory). A client that is asked to wait holds back what its program submits, so the pressure goes where it comes from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fedproxy.config.service import LimitsConfig
from fedproxy.errors import ServiceBusyError

_SOON_S = 0.2
_LATER_S = 1.0


class Admission:
    """One for the service."""

    def __init__(self, limits: LimitsConfig, live: Mapping[str, int]) -> None:
        self._limits = limits
        self._bytes: defaultdict[str, int] = defaultdict(int)
        self._all_bytes = 0
        self._live: defaultdict[str, int] = defaultdict(int, live)

    @contextmanager
    def reading(self, user: str, size_bytes: int) -> Iterator[None]:
        """A request of that size is in memory within the block. One request is always let in, however large.

        Raises:
            ServiceBusyError: too much is under way.
        """
        if self._bytes[user] and self._bytes[user] + size_bytes > self._limits.user_bytes:
            raise ServiceBusyError(f"more than {self._limits.user_bytes:,} bytes of this user's requests are under way", retry_after_s=_SOON_S, status=429)
        if self._all_bytes and self._all_bytes + size_bytes > self._limits.all_bytes:
            raise ServiceBusyError(f"more than {self._limits.all_bytes:,} bytes of requests are under way", retry_after_s=_LATER_S, status=503)
        self._count(user, size_bytes)
        try:
            yield
        finally:
            self._count(user, -size_bytes)

    def _count(self, user: str, size_bytes: int) -> None:
        self._all_bytes += size_bytes
        self._bytes[user] += size_bytes
        if not self._bytes[user]:
            del self._bytes[user]

    def room_for(self, user: str, tasks: int) -> None:
        """Whether so many tasks more may be queued. A batch is always taken where nothing is.

        Raises:
            ServiceBusyError: too many are not over.
        """
        live = self._live[user]
        if live and live + tasks > self._limits.user_tasks:
            raise ServiceBusyError(
                f"{live:,} tasks of this user are not over, and no more than {self._limits.user_tasks:,} may be", retry_after_s=_LATER_S, status=429)

    def began(self, user: str, tasks: int) -> None:
        """So many tasks are durable."""
        self._live[user] += tasks

    def ended(self, user: str) -> None:
        """One is over."""
        self._live[user] -= 1

    def live(self, user: str) -> int:
        """How many tasks are not over."""
        return self._live[user]
