"""What the service is told: plain data."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen, validators

from fedproxy.config.home import service_dir


@frozen
class RelayConfig:
    """Objects on the service's disk, for sites that cannot reach each other."""

    mode: str = field(default="loopback", validator=validators.in_(("loopback", "always", "never")))
    """``loopback``: only while the service itself listens on loopback, as the embedded one does; ``always``; ``never``."""
    quota_bytes: int = 20 * 1024**3
    """For each user."""
    ttl_s: float = 24 * 3600.0


@frozen
class LimitsConfig:
    """What may be under way; more is asked to come back later (429 for the user's own, 503 for all)."""

    user_bytes: int = 256 * 1024 * 1024
    """Of requests of one user that are being read or written down."""
    all_bytes: int = 1024 * 1024 * 1024
    """The same of all users: it is in memory."""
    user_tasks: int = 2_000_000
    """Tasks of one user that are not over."""


@frozen
class ServiceConfig:
    """One embedded service: loopback only unless told otherwise."""

    directory: Path = field(factory=service_dir)
    host: str = "127.0.0.1"
    port: int = 0
    """0: a free port; the chosen one is written to ``service.json``."""
    zmq_port: int = 0
    payload_limit_bytes: int = 10 * 1024 * 1024
    """Largest inline argument or result. Larger ones travel through stores."""
    retention_s: float = 14 * 24 * 3600.0
    header_timeout_s: float = 10.0
    """A connection that has not sent the headers of a request by then is dropped."""
    body_timeout_s: float = 30.0
    """A request is dropped when nothing more of its body has come for so long."""
    heartbeat_period_s: float = 30.0
    heartbeat_grace: int = 3
    relay: RelayConfig = field(factory=RelayConfig)
    limits: LimitsConfig = field(factory=LimitsConfig)

    @property
    def relays(self) -> bool:
        """Whether the relay is on."""
        return self.relay.mode == "always" or (self.relay.mode == "loopback" and self.host in ("127.0.0.1", "::1", "localhost"))
