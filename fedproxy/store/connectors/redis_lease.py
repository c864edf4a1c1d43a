"""Objects in Redis that were put without a lifetime live as long as their owner, and a lease longer.

Strategy: the lifetime is the server's own (PX), so that nobody has to clean up after a process that was killed. The
owner remembers the names and lets them live on, four times per lease; what is gone by then is forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from fedproxy.store.connectors import redis_chunks as chunks
from fedproxy.store.connectors.keeper import Keeper
from fedproxy.store.connectors.redis_batch import run_many
from fedproxy.store.connectors.redis_client import RedisClient
from fedproxy.store.connectors.redis_wire import encode

RENEWALS = 4
_SLAB = 10_000


class Lease:
    """What this process owns in one store. Without ``lease_s`` nothing is owned, and all live for ever."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._lease_s = client.config.lease_s
        self._owned: dict[bytes, chunks.Manifest | None] = {}
        self._keeper: Keeper | None = None
        self._pid = os.getpid()

    def ttl_ms(self, ttl_s: float | None) -> int | None:
        """The lifetime to write: ``ttl_s`` where it was given, else the lease; None: for ever."""
        seconds = ttl_s if ttl_s is not None else self._lease_s
        return max(1, int(seconds * 1000)) if seconds or ttl_s is not None else None

    def own(self, names: Iterable[bytes], manifest: chunks.Manifest | None = None) -> None:
        """Keep these alive from now on."""
        if not self._lease_s:
            return
        if self._keeper is None or self._pid != os.getpid():  # what a forked process inherits its parent keeps alive
            self._owned, self._pid = {}, os.getpid()
            self._keeper = Keeper(self.renew, self._lease_s / RENEWALS, name="fedproxy-redis-lease")
        self._owned.update(dict.fromkeys(names, manifest))

    def disown(self, names: Iterable[bytes]) -> None:
        """Forget these: they are gone, or have a lifetime of their own now."""
        if self._owned:
            for name in names:
                self._owned.pop(name, None)

    def renew(self) -> None:
        """Let all that we own live for a lease from now."""
        owned = list(self._owned.items())
        ttl_ms = self.ttl_ms(None)
        for first in range(0, len(owned), _SLAB):
            names = [name for name, _ in owned[first : first + _SLAB]]
            commands = [encode(b"PEXPIRE", name, b"%d" % (ttl_ms or 0)) for name in names]
            there = run_many(self._client, names, commands)
            self.disown([name for name, reply in zip(names, there, strict=True) if reply != 1])
        prefix = self._client.config.prefix.encode()
        for name, manifest in owned:
            if manifest is not None and name in self._owned:
                chunks.keep(self._client, manifest.names(prefix, name[len(prefix) :]), ttl_ms)

    def stop(self) -> None:
        """Own nothing any more: the lease of what is there runs."""
        if self._keeper is not None:
            self._keeper.stop()
        self._owned = {}
