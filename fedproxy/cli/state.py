"""What is running in this home, and what the service knows about it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from fedproxy.cli import output, programs
from fedproxy.config import files
from fedproxy.config.home import read_json
from fedproxy.errors import ConfigError, FedproxyError, ServiceUnavailableError

COLUMNS = ("endpoint", "state", "pid", "up", "site", "workers", "idle", "queued", "id")
NUMBERS = ("pid", "workers", "idle", "queued")

View = Mapping[str, Any]
"""What the service says about one endpoint."""


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
    """One configured endpoint. ``state``: connected, disconnected, starting, stopped or misconfigured."""

    name: str
    state: str
    pid: int | None = None
    endpoint_id: str | None = None
    uptime_s: float | None = None
    site: str | None = None
    workers: int | None = None
    idle: int | None = None
    queued: int | None = None
    """Tasks that wait at the service."""
    in_flight: int | None = None
    """Tasks that were handed to the agent and have not ended."""
    problem: str | None = None
    """Why it is misconfigured, or what keeps its engine from working."""
    report: View | None = None
    """What the agent said of itself last, see `fedproxy.protocol.report`; None while it is not connected."""

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return asdict(self)

    def as_row(self) -> tuple[object, ...]:
        """The cells under ``COLUMNS``."""
        up = None if self.uptime_s is None else output.human_seconds(self.uptime_s)
        return (
            self.name, self.state, self.pid, up, self.site, self.workers, self.idle, self.queued,
            (self.endpoint_id or "")[:8],  # its beginning tells it apart; all of it is in the JSON
        )


def service_state() -> ServiceState:
    """Whether the service of this home runs, and where."""
    running = programs.service()
    pid = running.pid()
    if pid is None:
        return ServiceState(running=False)
    info = running.ready()
    url = str(info["url"]) if info else None
    return ServiceState(running=True, ready=info is not None, url=url, pid=pid, uptime_s=_age_s(pid))


def endpoint_states(names: Iterable[str]) -> list[EndpointState]:
    """The endpoints of this home, with what the service says about them where it can be asked."""
    views = _views()
    return [endpoint_state(name, views.get(name)) for name in names]


def endpoint_state(name: str, view: View | None = None) -> EndpointState:
    """Whether the endpoint's agent runs, is connected, and has work."""
    running = programs.endpoint(name)
    pid, ready = running.pid(), running.ready() is not None
    try:
        config = files.load_endpoint(name).value
    except ConfigError as exc:
        return EndpointState(name, "misconfigured", pid, problem=str(exc))
    online = bool(view and view["online"])
    connected = "disconnected" if view and not online else "connected"
    state = "stopped" if pid is None else connected if ready else "starting"
    report = (view.get("report") if view and online else None) or {}
    return EndpointState(
        name, state, pid, _endpoint_id(running.directory), _age_s(pid) if pid else None, config.site,
        workers=view["profile"].get("workers") if view and online else config.engine.max_workers,
        idle=view["idle"] if view and online and view["workers"] else None,  # unknown before the first heartbeat
        queued=view["queued"] if view else None, in_flight=view["in_flight"] if view else None,
        problem=report.get("engine", {}).get("problem") or None, report=view.get("report") if view else None,
    )


def _views() -> dict[str, View]:
    """Endpoint name → what the service says; empty where no service can be asked."""
    if not service_state().ready:
        return {}
    from fedproxy import Client

    with suppress(FedproxyError), Client() as client:
        return {str(each["name"]): each for each in client.get_endpoints()}
    return {}


def _endpoint_id(directory: Path) -> str | None:
    """The id under which the service knows the endpoint; None before its first start."""
    with suppress(OSError):
        return (directory / "endpoint.id").read_text().strip() or None
    return None


def forget(name: str) -> None:
    """Have the service forget an endpoint, where there is one that knows it."""
    if not service_state().running and not os.environ.get("FEDPROXY_SERVICE_URL"):
        return
    from fedproxy import Client

    with suppress(FedproxyError), Client() as client:
        client.delete_endpoint(name)


def forget_redis(directory: Path) -> None:
    """Take the passwords of an endpoint's own Redis servers out of the table, where an agent that was killed left them."""
    left = read_json(directory / "redis" / "cluster.json")
    if left and isinstance(ports := left.get("ports"), list):
        from fedproxy.endpoint.redis_node import Door
        from fedproxy.store.credentials import withdraw

        withdraw(Door(str(left["host"]), int(port)).address for port in ports)


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
