"""The functions of a campaign, where each of them runs, and what runs at the worker round them."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import field, frozen

from fedproxy.errors import ConfigError
from fedproxy.store import StoreFuture


@frozen
class Method:
    """A function, the endpoint it runs at, and how.

    Args:
        function: a generator function gives one intermediate result for each value it yields, then a last one with what it
            returns.
        endpoint: name or id.
        name: what tasks call it; by default the function's own name.
        options: of `fedproxy.Options`, for all its tasks.
    """

    function: Callable[..., Any]
    endpoint: str
    name: str = ""
    options: Mapping[str, Any] = field(factory=dict)

    @property
    def streams(self) -> bool:
        """Whether it yields intermediate results."""
        return inspect.isgeneratorfunction(self.function)


def method_table(methods: Mapping[Callable[..., Any], str] | Iterable[Method]) -> dict[str, Method]:
    """Methods by name, from ``{function: endpoint}`` or a list of `Method`.

    Raises:
        ConfigError: two have the same name, or something is no method.
    """
    given = [Method(function, endpoint) for function, endpoint in methods.items()] if isinstance(methods, Mapping) else list(methods)
    table: dict[str, Method] = {}
    for method in given:
        if not isinstance(method, Method) or not callable(method.function):
            raise ConfigError(f"not a method: {method!r}", hint="give {function: endpoint} or a list of Method(function, endpoint)")
        name = method.name or getattr(method.function, "__name__", "")
        if not name or name in table:
            raise ConfigError(f"two methods are called {name!r}" if name else f"{method.function!r} has no name", hint="Method(..., name=...)")
        table[name] = method
    return table


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, giving ``(value, started, ended)``: its arguments are there when it starts, its result is not yet written at its end."""

    def call(*args: Any, **kwargs: Any) -> tuple[Any, float, float]:
        started = time.time()
        value = function(*args, **kwargs)
        return value, started, time.time()

    call.__name__ = call.__qualname__ = getattr(function, "__name__", "method")
    return call


def streamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A generator function as `timed`; each value that it yields is stored at once, with the place where the next one will be."""

    def call(place: StoreFuture[Any], *args: Any, **kwargs: Any) -> tuple[Any, float, float]:
        started = time.time()
        values = function(*args, **kwargs)
        while True:
            try:
                value = next(values)
            except StopIteration as end:
                return end.value, started, time.time()
            following = place.sibling()
            place.set_result((value, following, started, time.time()))
            place = following

    call.__name__ = call.__qualname__ = getattr(function, "__name__", "method")
    return call
