"""The agent's process: what is there before the agent starts, and is cleared away after it has ended."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedproxy.config.endpoint import EndpointConfig
from fedproxy.config.home import endpoint_dir
from fedproxy.endpoint.agent import Agent
from fedproxy.endpoint.allowed import VARIABLE as ALLOWED_VARIABLE
from fedproxy.endpoint.allowed import AllowList
from fedproxy.endpoint.attached import Attached, attached_redis
from fedproxy.endpoint.data_plane import DataPlane, data_plane
from fedproxy.endpoint.identity import Identity, only_agent, register
from fedproxy.endpoint.sandbox import environment_for
from fedproxy.endpoint.setup import set_up
from fedproxy.store.user_redis import REDIS_VARIABLE


def run(config: EndpointConfig) -> None:
    """Serve an endpoint until SIGTERM or SIGINT.

    Raises:
        EndpointInUseError: another agent serves it.
        ServiceUnavailableError: the service did not answer within a minute.
    """
    directory = endpoint_dir(config.name)
    with (only_agent(directory), set_up(config, directory), attached_redis(config, directory) as attached,
          data_plane(attached.added_to(config), directory) as plane):
        config = plane.config
        identity = register(config, directory, attached, plane.profile())
        plane.start(identity.rest, identity.endpoint_id)
        os.environ.update(worker_environment(config, identity.endpoint_id, attached))  # all engines' workers inherit it
        try:
            _run_loop(_serve(config, identity, directory, attached, plane))
        finally:
            with suppress(OSError):
                os.unlink(directory / "agent.json")


def worker_environment(config: EndpointConfig, endpoint_id: str, attached: Attached) -> dict[str, str]:
    """What all workers of an endpoint find in their environment. No secrets: they are for the machine that resolves."""
    told = {"FEDPROXY_ENDPOINT_ID": endpoint_id, ALLOWED_VARIABLE: AllowList.of(config.allowed_functions).as_variable()}
    told |= environment_for(config.sandbox, endpoint_dir(config.name))
    return told | ({REDIS_VARIABLE: attached.url} if attached.url else {})


def _run_loop(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def _serve(config: EndpointConfig, identity: Identity, directory: Path, attached: Attached, plane: DataPlane) -> None:
    gc.freeze()  # what was imported stays: the collector need not look at it between two tasks
    agent = Agent(config, identity, directory, attached, plane)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, agent.stop.set)
    await agent.run()
