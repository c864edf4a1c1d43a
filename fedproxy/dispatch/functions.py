"""Functions to bytes: each is serialized once, and named by its content."""

from __future__ import annotations

import functools
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

from attrs import frozen

from fedproxy.errors import SerializationError
from fedproxy.protocol.ids import FunctionHash, function_hash
from fedproxy.serialize import serialize


@frozen
class SerializedFunction:
    """A function's bytes, their hash, and its name for people."""

    hash: FunctionHash
    body: bytes
    name: str


_cache: weakref.WeakKeyDictionary[Callable[..., Any], SerializedFunction] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def function_name(function: Callable[..., Any]) -> str:
    """What to call it in messages and reports."""
    if isinstance(function, functools.partial):
        return function_name(function.func)
    return getattr(function, "__qualname__", None) or getattr(function, "__name__", None) or type(function).__qualname__


def serialize_function(function: Callable[..., Any]) -> SerializedFunction:
    """A function's serialized form. Plain functions are remembered, so what they capture is taken at the first call;
    partials, bound methods and callable objects carry state and are serialized each time.

    Raises:
        TypeError: it cannot be called.
        SerializationError: it cannot be pickled; the message says what stands in the way.
    """
    plain = isinstance(function, types.FunctionType)
    if plain and (known := _cache.get(function)) is not None:
        return known
    if not callable(function):
        raise TypeError(f"the first argument must be callable, not {type(function).__name__}")
    name = function_name(function)
    try:
        body = bytes(serialize(function))
    except SerializationError as exc:
        raise SerializationError(f"the function {name!r} cannot be sent: {exc.message}", hint=exc.hint) from exc
    made = SerializedFunction(function_hash(body), body, name)
    if plain:
        with _lock:
            _cache[function] = made
    return made
