"""``fedproxy.submit`` and its like, over executors that are made when they are needed."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

from fedproxy.dispatch.client import Client
from fedproxy.dispatch.executor import Executor
from fedproxy.dispatch.future import TaskFuture
from fedproxy.dispatch.using import Using

T = TypeVar("T")


class _Defaults:
    """This process's client and executors. One place, so that tests can replace it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.client: Client | None = None
        self.executors: dict[str, Executor] = {}

    def close(self) -> None:
        with self.lock:
            for executor in self.executors.values():
                executor.shutdown(wait=False)
            self.executors.clear()
            if self.client is not None:
                self.client.close()
                self.client = None


_defaults = _Defaults()


def _current() -> _Defaults:
    global _defaults
    if _defaults.pid != os.getpid():
        _defaults = _Defaults()  # after a fork: the parent's threads and connections are not ours
    return _defaults


def get_client() -> Client:
    """The client that `submit` uses: the service of the environment, else the local one."""
    defaults = _current()
    with defaults.lock:
        if defaults.client is None:
            defaults.client = Client()
            atexit.register(reset)
        return defaults.client


def reset() -> None:
    """Forget the process's client and executors; the next call makes new ones."""
    _current().close()


def _executor(endpoint: str, options: dict[str, Any] | None) -> Executor | Using:
    defaults = _current()
    executor = defaults.executors.get(endpoint)
    if executor is None:
        with defaults.lock:
            executor = defaults.executors.get(endpoint)
            if executor is None:
                executor = defaults.executors[endpoint] = Executor(endpoint, client=get_client())
    return executor.using(**options) if options else executor


def submit(fn: Callable[..., T], /, *args: Any, endpoint: str, container: str = "", options: dict[str, Any] | None = None,
           **kwargs: Any) -> TaskFuture[T]:
    """Run ``fn(*args, **kwargs)`` at an endpoint and return a future.

    Args:
        endpoint: name or id.
        container: image in which the endpoint runs it.
        options: see `fedproxy.Options`: ``{"retries_on_loss": 1, "priority": 5}``.

    Raises:
        ServiceUnavailableError: no service runs; the message says how to start one.
        UnknownEndpointError: no endpoint of that name.
        SerializationError: the function or an argument cannot be sent.
    """
    chosen = {**(options or {}), **({"container": container} if container else {})}
    return _executor(endpoint, chosen).submit(fn, *args, **kwargs)


def map(fn: Callable[..., T], *iterables: Iterable[Any], endpoint: str, timeout: float | None = None,
        chunksize: int | None = None, options: dict[str, Any] | None = None) -> Iterator[T]:
    """``fn`` over the items of ``iterables`` at an endpoint; results in order, as they come."""
    return _executor(endpoint, options).map(fn, *iterables, timeout=timeout, chunksize=chunksize)


async def as_completed(futures: Iterable[TaskFuture[T]]) -> AsyncIterator[TaskFuture[T]]:
    """``async for future in as_completed(futures)``: each future as it ends."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Queue[TaskFuture[T]] = asyncio.Queue()
    waiting = list(futures)
    for future in waiting:
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(ended.put_nowait, done))  # type: ignore[arg-type]
    for _ in waiting:
        yield await ended.get()


def gather(futures: Iterable[TaskFuture[T]], *, timeout: float | None = None) -> list[T]:
    """The values of all futures, in order; raises the first exception."""
    return [future.result(timeout) for future in futures]
