"""``fedproxy up``, ``down`` and ``status``: a service and one endpoint on this machine."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from fedproxy.cli import daemon, exits, output, programs, state
from fedproxy.cli.service import check_port
from fedproxy.config import files
from fedproxy.config.home import home, private_dir

Json = Annotated[bool, Parameter(name="--json")]


def up(*, endpoint: str = "local", workers: int | None = None, json: Json = False) -> int:
    """Start the service and one local endpoint in the background, and wait until both are ready.

    What runs already is left alone, so that it may be repeated.

    Parameters
    ----------
    endpoint
        Name of the endpoint; configured on the spot when it is new.
    workers
        Worker processes of the endpoint, when it is started (default: as configured).
    json
        One JSON document.
    """
    files.check_name(endpoint)
    private_dir(home())
    service = programs.service()
    if not service.pid():
        check_port(files.load_service().value)
    info = daemon.start(service)
    if endpoint not in files.endpoint_names():
        files.write_endpoint(endpoint)
    files.load_endpoint(endpoint)
    daemon.start(programs.endpoint(endpoint), extra=["--workers", str(workers)] if workers else [])
    if json:
        (found,) = state.endpoint_states([endpoint])
        output.emit_json({"service": state.service_state().as_dict(), "endpoint": found.as_dict()})
        return exits.OK
    output.say(f"service is ready at {info['url']}")
    output.say(f"endpoint {endpoint!r} is connected: fedproxy.submit(fn, x, endpoint={endpoint!r})")
    return exits.OK


def down(*, json: Json = False) -> int:
    """Stop this home's endpoints and its service, and wait until they are gone."""
    stopped = [name for name in files.endpoint_names() if daemon.stop(programs.endpoint(name))]
    service = daemon.stop(programs.service())
    if json:
        output.emit_json({"service": service, "endpoints": stopped})
        return exits.OK
    for name in stopped:
        output.say(f"endpoint {name!r} stopped")
    output.say("service stopped" if service else "service was not running")
    return exits.OK


def status(*, json: Json = False) -> int:
    """What is running here. Exit code 3 when the service is not running."""
    service = state.service_state()
    endpoints = state.endpoint_states(files.endpoint_names())
    if json:
        output.emit_json({
            "home": str(home()), "service": service.as_dict(), "endpoints": [each.as_dict() for each in endpoints],
        })
    else:
        _print_status(service, endpoints)
    return exits.OK if service.running else exits.NOT_RUNNING


def _print_status(service: state.ServiceState, endpoints: list[state.EndpointState]) -> None:
    if service.running:
        up_for = output.human_seconds(service.uptime_s or 0.0)
        stage = f"ready at {service.url}" if service.ready else "starting"
        output.say(f"service is {stage} (pid {service.pid}, up {up_for})")
    else:
        output.say("service is not running; start it with: fedproxy up")
    if endpoints:
        output.table("Endpoints", state.COLUMNS, [each.as_row() for each in endpoints], right=state.NUMBERS, wide=True)
    for each in endpoints:
        if each.problem:
            output.warn(f"endpoint {each.name!r}: {each.problem}")
