"""The parsl engine's carrier: HTEX and its blocks, watched, scaled by our strategy, and made anew when they break.

Strategy: everything of Parsl's that blocks runs on one thread of its own; every ``period_s`` the loop looks at managers and blocks, lets the
strategy decide, and acts. An interchange that died takes its managers with it, so HTEX is then made anew, with all its blocks.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fedproxy.config.endpoint import ParslEngine
from fedproxy.config.home import read_json, write_private
from fedproxy.endpoint import strategy
from fedproxy.endpoint.engines.blocks import Blocks
from fedproxy.endpoint.engines.bundled import Passenger
from fedproxy.endpoint.engines.parsl_htex import Htex
from fedproxy.endpoint.engines.parsl_provider import Reach
from fedproxy.endpoint.engines.relay import RelayAddress
from fedproxy.errors import EndpointError, FedproxyError

log = logging.getLogger(__name__)

T = TypeVar("T")
_LOOKS_APART_S = 0.1
"""At least: what happens meanwhile is looked at together."""
_AGAIN_S = 1.0
_AGAIN_MOST_S = 60.0
_KEPT_RUNS = 5
"""Folders of earlier runs, with Parsl's logs."""


class ParslCarrier:
    """Bundles by HTEX."""

    def __init__(self, config: ParslEngine, where: Reach, directory: Path) -> None:
        self._config, self._where, self._directory = config, where, directory
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fedproxy-parsl")
        self._runs = itertools.count(1)
        self._passenger: Passenger | None = None
        self._htex: Htex | None = None
        self._flying: dict[int, Future[Any]] = {}
        self._blocks = Blocks(config.scaling)
        self._strategy = strategy.strategy(config.scaling)
        self._failures = 0
        self._restarts = -1
        self._asked = 0.0
        self._nudge = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._stopping = False
        self._trouble = ""

    # ------------------------------------------------------------ carrier

    @property
    def places(self) -> int:
        """Workers that are there or on their way."""
        return self._blocks.places if self._htex is not None else 0

    @property
    def workers(self) -> int:
        """Workers that are there."""
        return self._blocks.workers if self._htex is not None else 0

    @property
    def blocks(self) -> int:
        """Blocks that are held."""
        return len(self._blocks)

    @property
    def problem(self) -> str:
        """What is wrong, in words."""
        return self._trouble or self._blocks.problem

    def start(self, passenger: Passenger) -> None:
        """Start HTEX, and watch."""
        self._passenger = passenger
        self._watcher = self._loop.create_task(self._watch())

    def send(self, number: int, buffer: bytes, relay: RelayAddress) -> None:
        """Send a bundle to the interchange."""
        assert self._passenger is not None
        try:
            if self._htex is None:
                raise EndpointError("HTEX is not running")
            future = self._htex.submit(number, buffer, relay)
        except Exception as exc:  # noqa: BLE001 - a poisoned executor raises what poisoned it
            self._loop.call_soon(self._passenger.landed, number, exc)
            return
        self._flying[number] = future
        future.add_done_callback(partial(self._done, number))

    def _done(self, number: int, future: Future[Any]) -> None:
        """On Parsl's thread."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._landed, number, future)

    def _landed(self, number: int, future: Future[Any]) -> None:
        assert self._passenger is not None
        if self._flying.get(number) is future:
            del self._flying[number]
            error = future.exception()
            if error is not None:
                self._asked = 0.0  # a worker was lost, perhaps with its block
                self._nudge.set()
            self._passenger.landed(number, error)

    def wanted(self) -> None:
        """More blocks may be wanted: look soon."""
        self._nudge.set()

    def details(self) -> Mapping[str, object]:
        """Blocks, and how often HTEX was started anew."""
        pid = self._htex.interchange if self._htex is not None and self._htex.alive else None
        return {**self._blocks.details(time.monotonic()), "restarts": max(0, self._restarts), "interchange": pid}

    async def stop(self) -> None:
        """Cancel all blocks, end the interchange."""
        self._stopping = True
        if self._watcher is not None:
            self._nudge.set()
            await self._watcher
        await self._close()
        self._thread.shutdown(wait=False)

    # ------------------------------------------------------------ watching

    async def _watch(self) -> None:
        while not self._stopping:
            await asyncio.sleep(_LOOKS_APART_S)
            delay_s = self._config.scaling.period_s
            try:
                if self._htex is None:
                    await self._open()
                bad = self._blocks.bad
                await self._look()
                if self._blocks.bad > bad:
                    log.warning("%s", self._blocks.problem)
                self._trouble = ""
            except Exception as exc:  # noqa: BLE001 - Parsl, its providers and batch systems raise anything; it is reported and tried again
                delay_s = await self._fail(exc)
            self._nudge.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nudge.wait(), delay_s)

    async def _fail(self, error: Exception) -> float:
        """Make HTEX anew, after a pause that grows. Returns the seconds until then."""
        if self._stopping:
            return 0.0
        self._failures += 1
        delay_s: float = min(_AGAIN_MOST_S, _AGAIN_S * 2 ** (self._failures - 1))
        self._trouble = str(error) if isinstance(error, FedproxyError) else f"HTEX: {error!r}"
        log.warning("%s; HTEX is started anew in %.0f s", self._trouble, delay_s)
        await self._close()
        return delay_s

    async def _open(self) -> None:
        assert self._passenger is not None
        htex = await self._on_thread(self._make)
        self._htex = htex
        self._restarts += 1
        self._blocks.begin(htex.provider, htex.workers_per_block)
        await self._on_thread(self._start, htex)
        first = htex.provider.init_blocks if not self._restarts else htex.provider.min_blocks
        if first:
            await self._grow(htex, first)
        self._passenger.changed()

    def _make(self) -> Htex:
        runs = self._directory / "parsl"
        for old in sorted(runs.glob("*"), key=lambda path: path.stat().st_mtime)[:-_KEPT_RUNS]:
            shutil.rmtree(old, ignore_errors=True)
        return Htex(self._config, self._where, runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(self._runs)}")

    def _start(self, htex: Htex) -> None:
        left = read_json(self._directory / "blocks.json")
        if left is not None and left.get("provider") == self._config.provider.get("type") and isinstance(left.get("jobs"), list):
            htex.cancel_left_over([str(job) for job in left["jobs"]])  # type: ignore[attr-defined]
        htex.start()

    async def _close(self) -> None:
        htex, self._htex = self._htex, None
        if htex is None:
            return
        try:
            await self._on_thread(htex.close)
        except Exception as exc:  # noqa: BLE001 - what is broken may not end well; its processes are ended with the agent at the latest
            log.warning("HTEX did not end well: %r", exc)
        self._blocks.end()
        self._remember()
        for number, future in list(self._flying.items()):
            if not future.done():
                future.set_exception(EndpointError("HTEX was stopped"))
            self._landed(number, future)

    async def _look(self) -> None:
        """Observe, decide, act."""
        htex = self._htex
        assert htex is not None
        assert self._passenger is not None
        if not htex.alive:
            raise EndpointError("the interchange has died")
        now = time.monotonic()
        ask = now - self._asked >= self._blocks.ask_every_s
        managers = await self._on_thread(htex.managers)
        jobs = await self._on_thread(partial(htex.jobs, ask=ask))
        if ask:
            self._asked = now
        if managers:
            self._failures = 0
        places = self.places
        self._blocks.observe(managers, jobs, now)
        plan = self._decide(now)
        if plan.grow:
            await self._grow(htex, plan.grow)
        if plan.release:
            released = await self._on_thread(htex.release, plan.release)
            log.info("blocks released: %s", ", ".join(released) or "none, they became busy")
            self._blocks.forget(released)
            self._remember()
        if self.places != places:
            self._passenger.changed()

    def _decide(self, now: float) -> strategy.Plan:
        assert self._passenger is not None
        pending = self._passenger.pending(self._config.scaling.queue_age_s)
        idle = max(0, self._blocks.places - self._passenger.running())
        load = strategy.Load(pending, idle, len(self._blocks))
        plan = self._strategy.plan(load, self._blocks.units(pending > 0, now), self._blocks.limits, now)
        return strategy.Plan(plan.grow if self._blocks.may_grow(now) else 0, plan.release)

    async def _grow(self, htex: Htex, count: int) -> None:
        log.info("asking the provider for %d more blocks", count)
        await self._on_thread(htex.grow, count)
        self._blocks.asked(await self._on_thread(partial(htex.jobs, ask=False)), time.monotonic())
        self._remember()

    def _remember(self) -> None:
        """Write down which batch jobs there are, for an agent that comes after a crash."""
        known = {"provider": self._config.provider.get("type"), "jobs": self._blocks.jobs()}
        write_private(self._directory / "blocks.json", json.dumps(known).encode())

    async def _on_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await self._loop.run_in_executor(self._thread, partial(call, *arguments))
