"""An executor's calls with other options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from fedproxy.dispatch.future import TaskFuture
from fedproxy.dispatch.options import Options

if TYPE_CHECKING:
    from fedproxy.dispatch.executor import Executor

T = TypeVar("T")


@frozen
class Using:
    """Made by `Executor.using`: submits as the executor does, with these options."""

    executor: Executor
    options: Options

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> TaskFuture[T]:
        """As `Executor.submit`."""
        return self.executor.submit_call(fn, args, kwargs, self.options)

    def submit_once(self, key: str, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> TaskFuture[T]:
        """As `Executor.submit_once`."""
        return self.executor.submit_call(fn, args, kwargs, self.options, key)

    def submit_to_registered_function(self, function_id: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> TaskFuture[Any]:
        """As `Executor.submit_to_registered_function`."""
        client = self.executor.client
        container = client.container(function_id)
        options = self.options.but(container=container) if container else self.options
        return self.executor.submit_call(client.function(function_id), args, kwargs or {}, options)

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int | None = None) -> Iterator[T]:
        """As `Executor.map`."""
        return self.executor.map_calls(fn, iterables, timeout, chunksize, self.options)
