"""An engine without agent or service: jobs go in, outcomes come out, all is written down."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fedproxy.config.endpoint import EngineConfig
from fedproxy.dispatch.functions import serialize_function
from fedproxy.endpoint.catalog import AgentCatalog
from fedproxy.endpoint.engines.base import Callbacks, Engine, Job
from fedproxy.endpoint.engines.build import build_engine
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode_spec
from fedproxy.protocol.ids import spec_hash
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import deserialize, serialize

PATIENCE_S = 60.0


class Bench:
    """An engine, its catalog, and what it said."""

    def __init__(self, config: EngineConfig, directory: Path) -> None:
        self.catalog = AgentCatalog()
        self.handed: list[bytes] = []
        self.outcomes: dict[bytes, tuple[m.Outcome, bytes]] = {}
        self.twice: list[bytes] = []
        """Tasks that ended more than once."""
        self._futures: dict[bytes, asyncio.Future[tuple[m.Outcome, bytes]]] = {}
        self.engine: Engine = build_engine(config, directory, self.catalog, Callbacks(self.handed.extend, self._ended))

    def _ended(self, outcome: m.Outcome, body: bytes) -> None:
        if outcome.id in self.outcomes:
            self.twice.append(outcome.id)
            return
        self.outcomes[outcome.id] = outcome, body
        self._futures[outcome.id].set_result((outcome, body))

    def job(self, function: Callable[..., Any], *args: Any, walltime_s: float | None = None, container: str = "") -> Job:
        made = serialize_function(function)
        encoded = encode_spec(m.Spec(made.hash, "here", "it", walltime_s=walltime_s, container=container))
        name = spec_hash(encoded)
        self.catalog.learn_spec(name, encoded)
        self.catalog.learn_function(made.hash, bytes(made.body))
        payload = b"".join(map(bytes, serialize((args, {})).parts))
        return Job(m.Task(secrets.token_bytes(16), name, 0, len(payload)), payload, 0.0)

    def submit(self, function: Callable[..., Any], *args: Any, walltime_s: float | None = None) -> bytes:
        return self.submit_all([self.job(function, *args, walltime_s=walltime_s)])[0]

    def submit_all(self, jobs: list[Job]) -> list[bytes]:
        for job in jobs:
            self._futures[job.task.id] = asyncio.get_running_loop().create_future()
        self.engine.submit(jobs)
        return [job.task.id for job in jobs]

    async def outcome(self, task_id: bytes, patience_s: float = PATIENCE_S) -> tuple[m.Outcome, bytes]:
        return await asyncio.wait_for(asyncio.shield(self._futures[task_id]), patience_s)

    async def state(self, task_id: bytes, patience_s: float = PATIENCE_S) -> TaskState:
        return TaskState((await self.outcome(task_id, patience_s))[0].state)

    async def value(self, task_id: bytes) -> Any:
        outcome, body = await self.outcome(task_id)
        assert outcome.state == TaskState.SUCCEEDED, (TaskState(outcome.state), body)
        return deserialize(body)

    async def until(self, holds: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
        deadline = asyncio.get_running_loop().time() + patience_s
        while not holds():
            assert asyncio.get_running_loop().time() < deadline, f"waited {patience_s} s in vain for {what}: {self.engine.load()} {self.engine.details()}"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(config: EngineConfig, directory: Path) -> AsyncIterator[Bench]:
    """An engine from here to the end of the block; then nothing it was given is without an end, and nothing has two."""
    bench = Bench(config, directory)
    await bench.engine.start()
    try:
        yield bench
    finally:
        await bench.engine.stop()
    assert not bench.twice
    assert set(bench.outcomes) == set(bench._futures)
