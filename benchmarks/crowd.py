"""Many agents in one process: ``python -m benchmarks.crowd COUNT READY_FILE``, until TERM. They are real ones, without workers."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from attrs import evolve

from benchmarks.peers.fedproxy_session import endpoint_config
from fedproxy.config.endpoint import LocalEngine
from fedproxy.config.home import endpoint_dir, private_dir
from fedproxy.endpoint.agent import Agent
from fedproxy.endpoint.attached import Attached
from fedproxy.endpoint.data_plane import data_plane
from fedproxy.endpoint.identity import register


def _agent(number: int, stack: ExitStack) -> Agent:
    config = evolve(endpoint_config(1, f"crowd-{number}"), engine=LocalEngine(max_workers=1, min_workers=0))
    directory = endpoint_dir(config.name)
    private_dir(directory)
    plane = stack.enter_context(data_plane(config, directory))
    identity = register(plane.config, directory, Attached(), plane.profile())
    return Agent(plane.config, identity, directory, Attached(), plane)


async def _serve(count: int, ready: Path) -> None:
    with ExitStack() as stack:
        await _serve_all(count, ready, stack)


async def _serve_all(count: int, ready: Path, stack: ExitStack) -> None:
    began = time.time()
    agents = [_agent(number, stack) for number in range(count)]
    tasks = [asyncio.ensure_future(agent.run()) for agent in agents]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    online = [endpoint_dir(f"crowd-{number}") / "agent.json" for number in range(count)]  # written when the service has welcomed an agent
    while not all(path.exists() for path in online):
        await asyncio.sleep(0.05)
    ready.write_text(f"{time.time() - began:.1f} s")
    await stop.wait()
    for agent in agents:
        agent.stop.set()
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
