"""Ray's object store."""

from __future__ import annotations

from typing import Any

import ray

from benchmarks.host import Host
from benchmarks.peers.ray_pool import cluster


class RayStore:
    """``put`` and ``get``; the object goes with its last reference. There is no batch put."""

    def put(self, value: Any) -> Any:
        return ray.put(value)

    def get(self, key: Any) -> Any:
        return ray.get(key)

    def evict(self, key: Any) -> None:
        """The caller drops the reference."""


def store(host: Host) -> RayStore:
    """On a private cluster of one node."""
    host.shared(cluster)
    return RayStore()
