"""``fedproxy endpoint``: configure, run and look after the endpoints of this home."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from fedproxy.cli import daemon, exits, output, programs, report, state, upkeep
from fedproxy.config import files
from fedproxy.config.endpoint import EndpointConfig, ParslEngine
from fedproxy.config.settle import Settled
from fedproxy.errors import ConfigError, FedproxyError

app = App(name="endpoint", help="Endpoints: the compute resources that run tasks.")

app.command(upkeep.doctor)
app.command(upkeep.enable_on_boot)

Json = Annotated[bool, Parameter(name="--json")]


@app.command
def configure(
    name: str = "local", *, site: str = "", workers: int | None = None, store: tuple[str, ...] = (),
    display_name: str = "", template: str = "laptop", force: bool = False,
) -> int:
    """Write an endpoint's config.yaml, to be edited or used as it is.

    Parameters
    ----------
    name
        Name of the endpoint.
    site
        Machines that share stores share a site (default: this machine).
    workers
        Worker processes (default: one per CPU).
    store
        URL of a store of the site, fastest first; may be repeated.
    display_name
        What others see.
    template
        The kind of site: laptop, gpu, slurm, pbs, kubernetes, aws or dask.
    force
        Replace a configuration that is there.
    """
    path = files.write_endpoint(
        name, site=site, workers=workers, stores=store, display_name=display_name, template=template, replace=force
    )
    files.load_endpoint(name, env={})
    output.say(f"wrote {path}")
    if "EDIT" in path.read_text():
        output.say("edit the lines that are marked EDIT, then look with: fedproxy endpoint doctor " + name)
    output.say(f"start it with: fedproxy endpoint start {name}")
    return exits.OK


@app.command
def start(
    name: str = "local", *, workers: int | None = None, site: str | None = None, redis: int | None = None, repin: bool = False, detach: bool = False,
    with_parent: Annotated[bool, Parameter(show=False)] = False,
) -> int:
    """Run an endpoint's agent, in the foreground unless --detach.

    Parameters
    ----------
    name
        Name of the endpoint.
    workers
        Worker processes; wins over the configuration file.
    site
        Site name; wins over the configuration file.
    redis
        Bring along a Redis of so many nodes, as the site's first store and for `fedproxy.get_redis_client()`.
    repin
        Trust the service that answers now, in place of the one that the endpoint belonged to.
    detach
        Run in the background and return when it is connected to the service.
    with_parent
        End when standard input closes.
    """
    given = (("--workers", ("engine", "max_workers"), workers), ("--site", ("site",), site), ("--redis", ("redis", "nodes"), redis))
    settled = files.load_endpoint(name, flags={key: value for _, key, value in given if value is not None})
    _check(settled)
    config = settled.value
    if repin:
        (programs.endpoint(name).directory / "service.pin").unlink(missing_ok=True)
    if detach:
        return _start_in_background(name, config, [f"{flag}={value}" for flag, _, value in given if value is not None])
    if with_parent:
        daemon.end_with_parent()
    from fedproxy.endpoint.serve import run

    daemon.run_in_foreground(programs.endpoint(name), lambda: run(config))
    return exits.OK


@app.command
def stop(name: str = "local") -> int:
    """Stop an endpoint's agent and wait until it is gone. Its tasks stay in the service's queue."""
    _require_configured(name)
    gone = daemon.stop(programs.endpoint(name))
    output.say(f"endpoint {name!r} stopped" if gone else f"endpoint {name!r} was not running")
    return exits.OK


@app.command
def restart(name: str = "local", *, workers: int | None = None, redis: int | None = None) -> int:
    """Stop an endpoint and start it again in the background, under the same id.

    Parameters
    ----------
    name
        Name of the endpoint.
    workers
        Worker processes; wins over the configuration file.
    redis
        As of `start`.
    """
    _check(files.load_endpoint(name))
    daemon.stop(programs.endpoint(name))
    return start(name, workers=workers, redis=redis, detach=True)


@app.command(name="list")
def list_endpoints(*, json: Json = False) -> int:
    """The endpoints that are configured in this home."""
    found = state.endpoint_states(files.endpoint_names())
    if json:
        output.emit_json([each.as_dict() for each in found])
    elif found:
        output.table("Endpoints", state.COLUMNS, [each.as_row() for each in found], right=state.NUMBERS, wide=True)
    else:
        output.say("no endpoint is configured; start with: fedproxy endpoint configure NAME")
    return exits.OK


@app.command
def status(name: str = "local", *, json: Json = False) -> int:
    """One endpoint: is it running, connected and busy? Exit code 3 when it is not running."""
    _require_configured(name)
    (found,) = state.endpoint_states([name])
    if json:
        output.emit_json(found.as_dict())
    else:
        shown = [(key, value) for key, value in found.as_dict().items() if value is not None and key != "report"]
        output.table(f"Endpoint {name}", ("what", "value"), [*shown, *report.rows(found.report or {})])
        for title, columns, rows in report.tables(found.report or {}):
            output.table(title, columns, rows, wide=True)
    return exits.OK if found.pid else exits.NOT_RUNNING


@app.command
def logs(name: str = "local", *, lines: int = 50, follow: bool = False, json: Json = False) -> int:
    """What an endpoint's background agent wrote.

    Parameters
    ----------
    name
        Name of the endpoint.
    lines
        How many of the last lines.
    follow
        Go on printing until Ctrl-C.
    json
        One JSON document.
    """
    _require_configured(name)
    path = programs.endpoint(name).log
    shown = daemon.last_lines(path, lines)
    if json:
        output.emit_json({"path": str(path), "lines": shown})
        return exits.OK
    for line in shown:
        output.say(line)
    if follow:
        for line in _new_lines(path):
            output.say(line)
    return exits.OK


@app.command
def delete(name: str, *, force: bool = False) -> int:
    """Remove an endpoint's folder: its configuration, journal, logs and file store.

    Parameters
    ----------
    name
        Name of the endpoint.
    force
        Stop it first when it is running.
    """
    _require_configured(name)
    running = programs.endpoint(name)
    if running.pid() and not force:
        raise FedproxyError(f"endpoint {name!r} is running (pid {running.pid()})", hint="stop it first, or use --force")
    daemon.stop(running)
    state.forget(name)
    state.forget_redis(running.directory)
    shutil.rmtree(running.directory)
    output.say(f"deleted {running.directory}")
    return exits.OK


def _start_in_background(name: str, config: EndpointConfig, extra: list[str]) -> int:
    state.require_service(config.service_url)
    info = daemon.start(programs.endpoint(name), extra=extra)
    output.say(f"endpoint {name!r} is connected (pid {info['pid']}, log {programs.endpoint(name).log})")
    return exits.OK


def _check(settled: Settled[EndpointConfig]) -> None:
    """What only somebody else's signatures can tell, while the lines of the file are still known."""
    engine = settled.value.engine
    if isinstance(engine, ParslEngine):
        from fedproxy.endpoint.engines.parsl_provider import check_engine_arguments

        check_engine_arguments(engine, settled.where)


def _require_configured(name: str) -> None:
    if files.check_name(name) in files.endpoint_names():
        return
    known = ", ".join(files.endpoint_names())
    raise ConfigError(
        f"endpoint {name!r} is not configured" + (f"; there are: {known}" if known else ""),
        hint=f"fedproxy endpoint configure {name}",
    )


def _new_lines(path: Path) -> Iterator[str]:
    with path.open(errors="replace") as file:
        file.seek(0, 2)
        part = ""
        while True:
            text = file.read()
            if not text:
                time.sleep(0.2)
                continue
            *complete, part = (part + text).split("\n")
            yield from complete
