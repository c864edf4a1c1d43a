"""An engine without client, service and journal: what is left of fedproxy when it is compared with another executor."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from benchmarks.cases import UnsupportedCaseError
from benchmarks.host import Host
from benchmarks.peers.base import Function
from fedproxy.config.endpoint import EngineConfig, ParslEngine
from fedproxy.dispatch.functions import serialize_function
from fedproxy.endpoint.catalog import AgentCatalog
from fedproxy.endpoint.engines.base import Callbacks, Engine, Job
from fedproxy.endpoint.engines.build import build_engine
from fedproxy.protocol import messages as m
from fedproxy.protocol.codec import encode_spec
from fedproxy.protocol.ids import spec_hash
from fedproxy.serialize import deserialize, serialize


class EngineAlone:
    """The engine on a loop of its own; results are deserialized where they are waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: EngineConfig, host: Host) -> None:
        self._loop, self._catalog = loop, AgentCatalog()
        self._futures: dict[bytes, Future[bytes]] = {}
        self._specs: dict[Function, bytes] = {}
        self._fresh: list[Job] = []
        self._lock = threading.Lock()
        self.engine: Engine = build_engine(config, host.directory, self._catalog, Callbacks(lambda _ids: None, self._ended))

    def _ended(self, outcome: m.Outcome, body: bytes) -> None:
        self._futures.pop(outcome.id).set_result(body)

    def _spec(self, function: Function) -> bytes:
        if function not in self._specs:
            made = serialize_function(function)
            encoded = encode_spec(m.Spec(made.hash, "here", "it"))
            self._specs[function] = spec_hash(encoded)
            self._catalog.learn_spec(self._specs[function], encoded)
            self._catalog.learn_function(made.hash, bytes(made.body))
        return self._specs[function]

    def submit(self, function: Function, value: Any) -> Future[bytes]:
        payload = b"".join(map(bytes, serialize(((value,), {})).parts))
        job = Job(m.Task(secrets.token_bytes(16), self._spec(function), 0, len(payload)), payload, time.time())
        future: Future[bytes] = Future()
        self._futures[job.task.id] = future
        with self._lock:
            self._fresh.append(job)
            first = len(self._fresh) == 1
        if first:
            self._loop.call_soon_threadsafe(self._pass_on)
        return future

    def _pass_on(self) -> None:
        with self._lock:
            jobs, self._fresh = self._fresh, []
        self.engine.submit(jobs)

    def submit_all(self, function: Function, values: Sequence[Any]) -> list[Future[bytes]]:
        return [self.submit(function, value) for value in values]

    def result(self, handle: Future[bytes]) -> Any:
        return deserialize(handle.result())

    def results(self, handles: list[Future[bytes]]) -> Iterator[Any]:
        handles.reverse()
        while handles:
            yield self.result(handles.pop())

    def map(self, function: Function, values: Sequence[Any]) -> list[Any]:
        raise UnsupportedCaseError("an engine does not chunk")


@contextmanager
def _opened(config: EngineConfig, host: Host) -> Iterator[EngineAlone]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def make() -> EngineAlone:
        made = EngineAlone(loop, config, host)
        await made.engine.start()
        return made

    pool = asyncio.run_coroutine_threadsafe(make(), loop).result()
    try:
        for future in [pool.submit(abs, -1) for _ in range(8)]:
            future.result(120)
        yield pool
    finally:
        asyncio.run_coroutine_threadsafe(pool.engine.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def parsl(host: Host) -> EngineAlone:
    """The parsl engine, encrypted as it is by default."""
    provider = {"type": "LocalProvider", "init_blocks": 1, "min_blocks": 1, "max_blocks": 1}
    return host.own(_opened(ParslEngine(provider=provider, max_workers=host.workers), host))
