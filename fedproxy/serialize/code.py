"""Functions, classes and modules of the user's own code, by value (cloudpickle does the work)."""

from __future__ import annotations

import types
from typing import Any

import cloudpickle
from cloudpickle.cloudpickle import _dynamic_class_reduce  # the only way to send one importable class by value

from fedproxy.serialize.origin import goes_by_value
from fedproxy.serialize.reducers import reducers

_LOADER_NAMES = frozenset({"__builtins__", "__loader__", "__spec__", "__cached__"})


class NamePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle as it is: by name what can be imported here, by value what cannot."""

    def reducer_override(self, obj: Any) -> Any:
        """As pickle documents; arrays first."""
        reducer = reducers().get(type(obj))
        return super().reducer_override(obj) if reducer is None else reducer(obj)


class ValuePickler(NamePickler):
    """Also by value: functions, classes and single-file modules of the user's own that could be imported here."""

    def reducer_override(self, obj: Any) -> Any:
        """As pickle documents; the user's own code first."""
        kind = type(obj)
        if kind is types.FunctionType:
            if goes_by_value(obj.__module__):
                return self._dynamic_function_reduce(obj)
        elif issubclass(kind, type):
            if goes_by_value(getattr(obj, "__module__", None)):
                return _dynamic_class_reduce(obj)
        elif kind is types.ModuleType and goes_by_value(obj.__name__) and not hasattr(obj, "__path__"):
            return _reduce_module(obj)
        return super().reducer_override(obj)


def _reduce_module(module: types.ModuleType) -> tuple[Any, ...]:
    state = {name: value for name, value in vars(module).items() if name not in _LOADER_NAMES}
    return types.ModuleType, (module.__name__,), state, None, None, _fill_module


def _fill_module(module: types.ModuleType, state: dict[str, Any]) -> None:
    module.__dict__.update(state)
