"""Which part of an object cannot be pickled, in words."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_MAX_DEPTH = 8
_MAX_CHILDREN = 200


def describe_failure(obj: Any, failure: Exception | None, can_pickle: Callable[[Any], bool]) -> str:
    """One sentence: which part, of what type, why, and what to do."""
    path, culprit = _find_culprit(obj, can_pickle)
    where = f" at {path}" if path else ""
    kind = f"{type(culprit).__module__}.{type(culprit).__qualname__}".removeprefix("builtins.")
    return f"cannot pickle an object of type {kind}{where}: {failure} ({_advice(culprit)})"


def _find_culprit(obj: Any, can_pickle: Callable[[Any], bool]) -> tuple[str, Any]:
    """Walk down to the deepest part that fails by itself."""
    path, seen = "", {id(obj)}
    for _ in range(_MAX_DEPTH):
        for step, child in _children(obj):
            if id(child) not in seen and not can_pickle(child):
                seen.add(id(child))
                path, obj = path + step, child
                break
        else:
            break
    return path, obj


def _children(obj: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(obj, Mapping):
        items = list(obj.items())[:_MAX_CHILDREN]
        yield from ((f"[{key!r}]", value) for key, value in items)
        yield from ((f" key {key!r}", key) for key, _ in items)
    elif isinstance(obj, list | tuple | set | frozenset):
        yield from ((f"[{index}]", item) for index, item in enumerate(list(obj)[:_MAX_CHILDREN]))
    elif isinstance(obj, types.FunctionType):
        yield from _captured(obj)
    elif isinstance(obj, types.MethodType):
        yield ".__self__", obj.__self__
    else:
        yield from ((f".{name}", value) for name, value in list(getattr(obj, "__dict__", {}).items())[:_MAX_CHILDREN])


def _captured(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        yield f" captured variable {name!r}", cell.cell_contents
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f" global {name!r}", function.__globals__[name]


def _advice(culprit: Any) -> str:
    kind = type(culprit).__name__.lower()
    if "lock" in kind or "condition" in kind or "event" in kind:
        return "create locks inside the function, or leave them out with __getstate__"
    if isinstance(culprit, types.GeneratorType):
        return "send a list instead of a generator"
    if "io" in kind or "socket" in kind or "connection" in kind:
        return "open files and connections inside the function and send their names instead"
    return "leave it out with __getstate__, or make it inside the function"
