"""What is running in this home, and what the service knows about it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from attrs import asdict, frozen

from fedproxy.cli import output, programs
from fedproxy.config import files
from fedproxy.errors import ConfigError, FedproxyError, ServiceUnavailableError

COLUMNS = ("endpoint", "state", "pid", "up", "site", "workers", "id")


@frozen
class ServiceState:
    """The embedded service, seen from this machine."""

    running: bool
    ready: bool = False
    url: str | None = None
    pid: int | None = None
    uptime_s: float | None = None

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return asdict(self)


@frozen
class EndpointState:
    """One configured endpoint, seen from this machine. ``state``: connected, starting, stopped or misconfigured."""

    name: str
    state: str
    pid: int | None = None
    endpoint_id: str | None = None
    uptime_s: float | None = None
    site: str | None = None
    workers: int | None = None
    problem: str | None = None

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return asdict(self)

    def as_row(self) -> tuple[object, ...]:
        """The cells under ``COLUMNS``."""
        up = None if self.uptime_s is None else output.human_seconds(self.uptime_s)
        return (self.name, self.state, self.pid, up, self.site, self.workers, self.endpoint_id)


def service_state() -> ServiceState:
    """Whether the service of this home runs, and where."""
    running = programs.service()
    pid = running.pid()
    if pid is None:
        return ServiceState(running=False)
    info = running.ready()
    url = str(info["url"]) if info else None
    return ServiceState(running=True, ready=info is not None, url=url, pid=pid, uptime_s=_age_s(pid))


def endpoint_state(name: str) -> EndpointState:
    """Whether the endpoint's agent runs, and with what configuration."""
    running = programs.endpoint(name)
    pid, info = running.pid(), running.ready()
    state = "stopped" if pid is None else "connected" if info else "starting"
    try:
        config = files.load_endpoint(name).value
    except ConfigError as exc:
        return EndpointState(name, "misconfigured" if pid is None else state, pid, problem=str(exc))
    return EndpointState(
        name, state, pid, _endpoint_id(running.directory), _age_s(pid) if pid else None, config.site,
        config.engine.max_workers,
    )


def _endpoint_id(directory: Path) -> str | None:
    """The id under which the service knows the endpoint; None before its first start."""
    with suppress(OSError):
        return (directory / "endpoint.id").read_text().strip() or None
    return None


def seen_by_service(endpoint: EndpointState) -> dict[str, object] | None:
    """What the service says about a connected endpoint; None where it cannot be asked."""
    if endpoint.endpoint_id is None:
        return None
    from fedproxy import Client

    with suppress(FedproxyError), Client() as client:
        return client.get_endpoint_status(endpoint.endpoint_id)
    return None


def forget(name: str) -> None:
    """Have the service forget an endpoint, where there is one that knows it."""
    if not service_state().running and not os.environ.get("FEDPROXY_SERVICE_URL"):
        return
    from fedproxy import Client

    with suppress(FedproxyError), Client() as client:
        client.delete_endpoint(name)


def require_service(url: str = "") -> None:
    """Refuse to go on without a service to talk to.

    Raises:
        ServiceUnavailableError: the local service is not running and no other one was named.
    """
    if url or os.environ.get("FEDPROXY_SERVICE_URL") or service_state().running:
        return
    raise ServiceUnavailableError("the service is not running", hint="start it with: fedproxy up")


def _age_s(pid: int) -> float | None:
    """How long a process has been running, by the kernel's clock."""
    with suppress(OSError, ValueError, IndexError):
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return None
