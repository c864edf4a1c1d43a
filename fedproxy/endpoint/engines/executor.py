"""A carrier over any ``concurrent.futures.Executor``: Dask, loky, MPI, ...

Strategy: the executor is made in a thread (some start a cluster) and made anew, after a pause, when it is broken.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from attrs import frozen

from fedproxy.config.endpoint import ExecutorEngine
from fedproxy.endpoint.engines.bundle_runner import run_bundle
from fedproxy.endpoint.engines.bundled import Passenger
from fedproxy.endpoint.engines.relay import RelayAddress
from fedproxy.errors import ConfigError

log = logging.getLogger(__name__)

_AGAIN_S = 0.5
_AGAIN_MOST_S = 60.0


@frozen
class Made:
    """An executor, and what else must be closed with it."""

    executor: Executor
    owner: Any = None

    def close(self) -> None:
        """Stop it without waiting for what runs."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        if hasattr(self.executor, "_flags") and hasattr(self.executor, "submit"):  # loky: without this its workers outlive it
            with suppress(TypeError):
                self.executor.shutdown(wait=False, kill_workers=True)  # type: ignore[call-arg]
        if self.owner is not None:
            self.owner.close()


def make_executor(config: ExecutorEngine) -> Made:
    """Call what ``class`` names with ``args``; the rest of the path, behind a class, is called on what that gave.

    Raises:
        ConfigError: it cannot be imported or does not take these arguments, or gives no executor.
    """
    found, rest = _import(config.factory)
    try:
        inspect.signature(found).bind(**config.args)
    except TypeError as exc:
        raise ConfigError(f"engine.args: {config.factory}: {exc}") from exc
    except ValueError:
        pass  # a signature that cannot be read
    made = found(**config.args)
    owner = None
    if rest:
        owner = made
        for name in rest:
            made = getattr(made, name)
        made = made()
    if not isinstance(made, Executor):
        raise ConfigError(f"engine.class: {config.factory} gave a {type(made).__name__}, not a concurrent.futures.Executor")
    return Made(made, owner)


def _import(path: str) -> tuple[Callable[..., Any], list[str]]:
    names = path.split(".")
    for size in range(len(names) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(names[:size]))
        except ModuleNotFoundError as exc:
            if not ".".join(names[:size]).startswith(exc.name or "?"):
                raise ConfigError(f"engine.class: {path}: {exc}") from exc
            continue
        rest = names[size:]
        while rest and not isinstance(found, type):
            if not hasattr(found, rest[0]):
                raise ConfigError(f"engine.class: {path}: {'.'.join(names[:size])} has no {rest[0]}")
            found = getattr(found, rest.pop(0))
        return found, rest
    raise ConfigError(f"engine.class: no module named {names[0]!r}", hint=f"install it, or check the spelling of {path}")


class ExecutorCarrier:
    """Bundles by ``Executor.submit``."""

    def __init__(self, config: ExecutorEngine) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fedproxy-executor")
        self._passenger: Passenger | None = None
        self._made: Made | None = None
        self._makes = 0
        self._failures = 0
        self._stopping = False
        self._making: asyncio.Task[None] | None = None
        self.places = self.workers = self.blocks = 0
        self.problem = ""

    def start(self, passenger: Passenger) -> None:
        """Make the executor."""
        self._passenger = passenger
        self._make()

    def wanted(self) -> None:
        """The executor grows by itself, if at all."""

    def details(self) -> Mapping[str, object]:
        """Which executor, and how often it was made."""
        return {"executor": self._config.factory, "made": self._makes}

    def send(self, number: int, buffer: bytes, relay: RelayAddress) -> None:
        """Submit a bundle. An executor that refuses is broken."""
        assert self._passenger is not None
        made = self._made
        try:
            if made is None:
                raise BrokenExecutor("there is no executor now")
            future = made.executor.submit(run_bundle, buffer, number, relay.plain())
        except Exception as exc:  # noqa: BLE001 - whatever a foreign executor raises means that it does not work
            self._loop.call_soon(self._passenger.landed, number, exc)
            self._broken(made, exc)
            return
        future.add_done_callback(partial(self._done, made, number))

    def _done(self, made: Made, number: int, future: Future[Any]) -> None:
        """On a thread of the executor."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._landed, made, number, future)

    def _landed(self, made: Made, number: int, future: Future[Any]) -> None:
        assert self._passenger is not None
        error: BaseException | None = BrokenExecutor("it was cancelled") if future.cancelled() else future.exception()
        if isinstance(error, BrokenExecutor):
            self._broken(made, error)
        elif error is None:
            self._failures = 0
        self._passenger.landed(number, error)

    def _broken(self, made: Made | None, error: BaseException) -> None:
        """Make another, once for each that broke."""
        if made is None or made is not self._made or self._stopping:
            return
        self._made, self.places, self.workers = None, 0, 0
        self.problem = f"the executor broke: {error}"
        self._failures += 1
        delay_s = min(_AGAIN_MOST_S, _AGAIN_S * 2 ** (self._failures - 1))
        log.warning("%s; another one is made in %.1f s", self.problem, delay_s)
        self._thread.submit(_close, made)
        self._loop.call_later(delay_s, self._make)

    def _make(self) -> None:
        if not self._stopping:
            self._making = self._loop.create_task(self._make_in_thread())

    async def _make_in_thread(self) -> None:
        assert self._passenger is not None
        try:
            self._made = await self._loop.run_in_executor(self._thread, partial(make_executor, self._config))
        except Exception as exc:  # noqa: BLE001 - a foreign executor may raise anything; it is reported and tried again
            self._failures += 1
            self.problem = f"the executor cannot be made: {exc}"
            log.warning("%s", self.problem)
            self._loop.call_later(min(_AGAIN_MOST_S, _AGAIN_S * 2 ** self._failures), self._make)
            return
        self._makes += 1
        self.problem = ""
        self.places = self.workers = self._config.max_workers
        self._passenger.changed()

    async def stop(self) -> None:
        """Shut the executor down; what runs on it is killed where the executor can."""
        self._stopping = True
        if self._making is not None:
            with suppress(asyncio.CancelledError):
                await self._making
        if self._made is not None:
            await self._loop.run_in_executor(self._thread, _close, self._made)
        self._thread.shutdown(wait=False)


def _close(made: Made) -> None:
    try:
        made.close()
    except Exception as exc:  # noqa: BLE001 - it was broken
        log.info("closing the executor: %s", exc)
