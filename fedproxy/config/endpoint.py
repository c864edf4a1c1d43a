"""What an endpoint is told: plain data."""

from __future__ import annotations

import os

from attrs import field, frozen

from fedproxy.config.home import default_site, endpoint_dir, host_id


@frozen
class LocalEngine:
    """Warm worker processes on this node."""

    type: str = "local"
    max_workers: int = field(factory=lambda: os.cpu_count() or 1)


@frozen
class Heartbeat:
    """A peer that was silent for ``period_s * grace`` is lost."""

    period_s: float = 30.0
    grace: int = 3


@frozen
class EndpointConfig:
    """One endpoint.

    ``stores`` are store URLs, fastest first; empty means shared memory, then files, under its own folder.
    """

    name: str
    display_name: str = ""
    site: str = field(factory=default_site)
    engine: LocalEngine = field(factory=LocalEngine)
    stores: tuple[str, ...] = ()
    proxy_threshold_bytes: int = 64 * 1024
    """Results larger than this become proxies."""
    heartbeat: Heartbeat = field(factory=Heartbeat)
    service_url: str = ""
    """Empty: the local service."""

    def store_urls(self) -> tuple[str, ...]:
        """The site's stores, fastest first."""
        if self.stores:
            return self.stores
        return (f"shm://{host_id()}/{self.site}", f"file://{endpoint_dir(self.name) / 'store'}")
