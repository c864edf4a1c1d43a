"""The two programs this command starts, as background processes of this home."""

from __future__ import annotations

from fedproxy.cli.daemon import Daemon
from fedproxy.config.home import endpoint_dir, service_dir


def service() -> Daemon:
    """The embedded service."""
    return Daemon(
        title="the service", directory=service_dir(), arguments=("service", "start"), ready_file="service.json",
        log_file="service.log",
    )


def endpoint(name: str) -> Daemon:
    """The agent of the endpoint ``name``."""
    return Daemon(
        title=f"endpoint {name!r}", directory=endpoint_dir(name), arguments=("endpoint", "start", name),
        ready_file="agent.json", log_file="endpoint.log",
    )
