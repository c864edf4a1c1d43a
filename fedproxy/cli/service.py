"""``fedproxy service``: the embedded service."""

from __future__ import annotations

import socket
from typing import Annotated

from cyclopts import App, Parameter

from fedproxy.cli import daemon, exits, output, programs
from fedproxy.config.service import ServiceConfig
from fedproxy.errors import ConfigError

app = App(name="service", help="The service: tasks, endpoints and small payloads.")


@app.command
def start(
    *, host: str | None = None, port: int | None = None, payload_limit_bytes: int | None = None, detach: bool = False,
    with_parent: Annotated[bool, Parameter(show=False)] = False,
) -> int:
    """Run the service, in the foreground unless --detach.

    Parameters
    ----------
    host
        Address to listen on (default: loopback).
    port
        Port to listen on (default: any free one).
    payload_limit_bytes
        Largest argument or result that passes through the service.
    detach
        Run in the background and return when it is ready.
    with_parent
        End when standard input closes.
    """
    from fedproxy.config.files import load_service

    flags: dict[tuple[str, ...], object] = {
        (name,): value
        for name, value in (("host", host), ("port", port), ("payload_limit_bytes", payload_limit_bytes))
        if value is not None
    }
    config = load_service(flags=flags).value
    if not programs.service().pid():
        check_port(config)
    if config.host not in ("127.0.0.1", "::1", "localhost"):
        output.warn(f"listening on {config.host}: tokens travel unencrypted; put a TLS proxy in front of it")
    if detach:
        return _start_in_background([f"--{key[0].replace('_', '-')}={value}" for key, value in flags.items()])
    if with_parent:
        daemon.end_with_parent()
    _serve(config)
    return exits.OK


@app.command
def stop() -> int:
    """Stop the service and wait until it is gone."""
    gone = daemon.stop(programs.service())
    output.say("service stopped" if gone else "service was not running")
    return exits.OK


def _start_in_background(extra: list[str]) -> int:
    running = programs.service()
    info = daemon.start(running, extra=extra)
    output.say(f"service is ready at {info['url']} (pid {info['pid']}, log {running.log})")
    return exits.OK


def check_port(config: ServiceConfig) -> None:
    """Say clearly, before anything is started, that a port cannot be had.

    Raises:
        ConfigError: the port is in use, or the host is not an address of this machine.
    """
    for port in filter(None, (config.port, config.zmq_port)):
        try:
            family = socket.getaddrinfo(config.host, port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((config.host, port))
        except OSError as exc:
            raise ConfigError(
                f"cannot listen on {config.host} port {port}: {exc.strerror or exc}",
                hint="choose another with --port, or leave it out for any free one",
            ) from exc


def _serve(config: ServiceConfig) -> None:
    from fedproxy.service.server import serve

    daemon.run_in_foreground(programs.service(), lambda: serve(config))
