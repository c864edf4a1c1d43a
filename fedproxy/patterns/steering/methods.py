"""The functions of a campaign, and where each of them runs."""

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


def streamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A generator function as one that stores each value at once, with the place where the next one will be, and returns what it returns."""

    def call(place: StoreFuture[Any], *args: Any, **kwargs: Any) -> Any:
        values = function(*args, **kwargs)
        while True:
            try:
                value = next(values)
            except StopIteration as end:
                return end.value
            following = place.sibling()
            place.set_result((value, following, time.time()))
            place = following

    call.__name__ = call.__qualname__ = getattr(function, "__name__", "method")
    return call
