"""A burst on an engine that holds nothing: how long until the first result, and how long until what was started is released again.

Idle time is one second here. Both ends are measured inside this process: from the submission to the first outcome, from the last outcome until no worker (and
no block) is held.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from benchmarks.cases import Benchmark, Case, Sample
from benchmarks.host import Host
from benchmarks.rows import Metric
from fedproxy.config.endpoint import EngineConfig, LocalEngine, ParslEngine, Scaling
from fedproxy.dispatch.functions import serialize_function
from fedproxy.endpoint.catalog import AgentCatalog
from fedproxy.endpoint.engines.base import Callbacks, Engine, Job
from fedproxy.endpoint.engines.build import build_engine
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode_spec
from fedproxy.protocol.ids import spec_hash
from fedproxy.serialize import serialize

METRICS = (Metric("time_to_first", "s", "lower"), Metric("idle_released", "s", "lower"), Metric("peak_workers", "workers", "higher"))
SYSTEMS = {
    "fedproxy/local": "benchmarks.elasticity:local",
    "fedproxy/parsl": "benchmarks.elasticity:parsl",
    "htex": "benchmarks.peers.htex_elastic:subject",
}
IDLE_S = 1.0
LOOK_S = 0.01
NAP_S = 0.2


def nap(seconds: float) -> None:
    """The task."""
    time.sleep(seconds)


class Burst:
    """An elastic engine, made anew for each repetition."""

    def __init__(self, config: EngineConfig, directory: Path) -> None:
        self._config, self._directory = config, directory

    def burst(self, tasks: int) -> Sample:
        """One repetition."""
        return asyncio.run(self._burst(tasks))

    async def _burst(self, tasks: int) -> Sample:
        catalog, ends = AgentCatalog(), asyncio.Queue[float]()
        callbacks = Callbacks(lambda _ids: None, lambda _outcome, _body: ends.put_nowait(time.perf_counter()))
        engine = build_engine(self._config, Path(tempfile.mkdtemp(dir=self._directory)), catalog, callbacks)
        await engine.start()
        try:
            await self._until_ready(engine)
            began = time.perf_counter()
            engine.submit([self._job(catalog) for _ in range(tasks)])
            first = last = await ends.get()
            peak = engine.load().workers
            for _ in range(tasks - 1):
                last = await ends.get()
                peak = max(peak, engine.load().workers)
            while engine.load().workers or engine.load().blocks:
                await asyncio.sleep(LOOK_S)
            return {"time_to_first": first - began, "idle_released": time.perf_counter() - last, "peak_workers": float(peak)}
        finally:
            await engine.stop()

    async def _until_ready(self, engine: Engine) -> None:
        """An interchange takes its time to start; that is not scaling."""
        while isinstance(self._config, ParslEngine) and engine.details().get("interchange") is None:
            await asyncio.sleep(LOOK_S)

    def _job(self, catalog: AgentCatalog) -> Job:
        function = serialize_function(nap)
        encoded = encode_spec(m.Spec(function.hash, "here", "nap"))
        name = spec_hash(encoded)
        catalog.learn_spec(name, encoded)
        catalog.learn_function(function.hash, bytes(function.body))
        payload = b"".join(map(bytes, serialize(((NAP_S,), {})).parts))
        return Job(m.Task(secrets.token_bytes(16), name, 0, len(payload)), payload, time.time())


SCALING = Scaling(idle_s=IDLE_S, period_s=0.1, status_s=0.5)


def local(host: Host) -> Burst:
    """Worker processes between none and ``host.workers``."""
    return Burst(LocalEngine(max_workers=host.workers, min_workers=0, scaling=SCALING), host.directory)


def parsl(host: Host) -> Burst:
    """Blocks of one worker each, between none and ``host.workers``."""
    provider = {"type": "LocalProvider", "init_blocks": 0, "min_blocks": 0, "max_blocks": host.workers}
    return Burst(ParslEngine(provider=provider, max_workers=1, scaling=SCALING), host.directory)


def cases(quick: bool) -> Sequence[Case]:
    """A burst of 20 tasks of 0.2 s (quick: 10)."""
    return [Case("burst", {"tasks": 10 if quick else 20, "idle_s": IDLE_S, "nap_s": NAP_S}, {"tasks": 2}, 3 if quick else 5)]


def measure(case: Case, subject: object) -> Sample:
    """One repetition."""
    return cast("Burst", subject).burst(case.number("tasks"))


BENCHMARK = Benchmark("elasticity", METRICS, SYSTEMS, cases, measure)
