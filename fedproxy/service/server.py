"""The service's process: HTTP, ZeroMQ and the ledger on one loop."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import uvicorn
import uvloop
from starlette.applications import Starlette

from fedproxy.config.home import private_dir, read_json, write_private
from fedproxy.config.service import ServiceConfig
from fedproxy.errors import ConfigError, ProtocolError, VersionMismatchError
from fedproxy.protocol.codec import decode
from fedproxy.service.app import create_app
from fedproxy.service.core import Core
from fedproxy.service.forwarder import CHECK_S, Forwarder
from fedproxy.service.http import Patience
from fedproxy.service.identity import ServiceIdentity
from fedproxy.service.retention import Retention
from fedproxy.service.routes.front import RouteFront
from fedproxy.service.short_way import ShortWay
from fedproxy.wire.curve import load_or_create_keys
from fedproxy.wire.zmq_channel import Hub, LinkOptions

log = logging.getLogger(__name__)
_MESSAGE_OVERHEAD = 64 * 1024 * 1024
_KEEPALIVE_S = 10


def serve(config: ServiceConfig) -> None:
    """Run the service until SIGTERM or SIGINT.

    Raises:
        ConfigError: a port is in use, or the folder cannot be written.
    """
    private_dir(config.directory)
    _allow_connections()
    sys.setswitchinterval(0.0005)  # the commit thread wins the interpreter back soon
    uvloop.run(_serve(config))


def _allow_connections() -> None:
    """As many open connections as this user may have: the usual limit of 1,024 is a courtesy to programs that use select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listen(config: ServiceConfig, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((config.host, port))
        listener.listen(1024)
    except OSError as exc:
        listener.close()
        raise ConfigError(f"cannot listen on {config.host}:{port}: {exc.strerror}",
                          hint="another program uses this port, perhaps a running service; choose one with --port") from exc
    return listener


def _last_ports(config: ServiceConfig) -> tuple[int, int]:
    """The ports of the last run, so that clients and agents find a restarted service; zeros where there was none."""
    last = read_json(config.directory / "service.json") or {}
    return int(str(last.get("port", 0))), int(str(last.get("zmq_port", 0)))


def _listen_again(config: ServiceConfig) -> socket.socket:
    last, _ = _last_ports(config)
    if not config.port and last:
        with suppress(ConfigError):
            return _listen(config, last)
    return _listen(config, config.port)


def _bind_hub(hub: Hub, config: ServiceConfig) -> int:
    _, last = _last_ports(config)
    if not config.zmq_port and last:
        with suppress(ConfigError):
            return hub.bind(config.host, last)
    return hub.bind(config.host, config.zmq_port)


async def _serve(config: ServiceConfig) -> None:
    gc.freeze()  # what was imported stays: the collector need not look at it between two requests
    listener = _listen_again(config)
    core = Core.open(config)
    core.accounts.local_token(config.directory / "token")
    keys = load_or_create_keys(config.directory / "curve.json")
    identity = ServiceIdentity.open(config.directory / "identity.key", keys.public.decode())
    forwarder = Forwarder(core, identity)

    def on_message(peer: bytes, endpoint_id: str, frames: list[memoryview]) -> None:
        try:
            message, body = decode(frames[0])
            forwarder.on_message(peer, endpoint_id, message, frames[1] if len(frames) > 1 else body)
        except VersionMismatchError as exc:
            forwarder.refuse(peer, endpoint_id, exc)
        except ProtocolError as exc:
            log.warning("endpoint %s sent what is not understood: %s", endpoint_id, exc)

    options = LinkOptions(max_message_bytes=config.payload_limit_bytes + _MESSAGE_OVERHEAD)
    hub = Hub(keys, core.registry.who, on_message, options)
    try:
        zmq_port = _bind_hub(hub, config)
        forwarder.sessions.attach(hub)
        address = f"tcp://{config.host}:{zmq_port}"
        app = create_app(core, forwarder, zmq_address=address, server_key=keys.public.decode(), identity=identity.public)
        await _run(app, listener, core, forwarder, config, zmq_port)
    finally:
        hub.close()
        await core.close()


async def _run(app: Starlette, listener: socket.socket, core: Core, forwarder: Forwarder, config: ServiceConfig, zmq_port: int) -> None:
    patience = Patience(config.header_timeout_s, config.body_timeout_s)
    server = uvicorn.Server(uvicorn.Config(
        app, http=partial(ShortWay, RouteFront(core, app.state.intake), patience), ws="none", lifespan="off",  # type: ignore[arg-type]
        access_log=False, log_config=None, timeout_graceful_shutdown=2,
        timeout_keep_alive=75, proxy_headers=False, server_header=False, date_header=False))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    serving = asyncio.ensure_future(server._serve([listener]))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ticking = asyncio.ensure_future(_tick(core, forwarder))
    _announce(config, listener.getsockname()[1], zmq_port)
    try:
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({stopping, serving, ticking}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    finally:
        ticking.cancel()
        core.streams.close()
        server.should_exit = True
        await serving
        with suppress(OSError):
            os.unlink(config.directory / "service.pid")


def _announce(config: ServiceConfig, port: int, zmq_port: int) -> None:
    host = f"[{config.host}]" if ":" in config.host else config.host
    info = {"url": f"http://{host}:{port}", "host": config.host, "port": port, "zmq_port": zmq_port, "pid": os.getpid(), "started": time.time()}
    write_private(Path(config.directory) / "service.json", json.dumps(info).encode())
    write_private(Path(config.directory) / "service.pid", str(os.getpid()).encode())
    log.info("service at %s, endpoints at port %d", info["url"], zmq_port)


async def _tick(core: Core, forwarder: Forwarder) -> None:
    beat = 0
    retention = Retention(core)
    while True:
        await asyncio.sleep(CHECK_S)
        beat += 1
        forwarder.check(time.monotonic())
        if beat % _KEEPALIVE_S == 0:
            core.streams.wake()
        if beat % 3600 == 0:
            retention.forget()
