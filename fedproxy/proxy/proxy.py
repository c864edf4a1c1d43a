"""The lazy, transparent stand-in for an object that lies elsewhere.

Strategy: an own class with slots, measured against wrapt and lazy-object-proxy (docs/adr): attribute access is the
commonest use, and ``__getattr__``, which Python calls only for names that the class does not have, is faster than
their ``__getattribute__`` with its detours. The slot of the target stays empty until the target is there, so that a
resolved proxy makes no check at all.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from fedproxy.errors import FedproxyError, ProxyResolveError
from fedproxy.proxy.factory import Factory
from fedproxy.proxy.flight import RecursiveFlightError, SingleFlight
from fedproxy.proxy.operators import TransparentOperators

T = TypeVar("T")

if TYPE_CHECKING:
    # For type checkers a Proxy[T] goes wherever a T goes.
    class _Base(Any, TransparentOperators):  # type: ignore[misc]
        pass
else:
    _Base = TransparentOperators

_flights = SingleFlight()
_PROBES = ("_repr_", "_ipython_", "__rich", "_mime")
"""Beginnings of names that notebooks, debuggers and printers ask every object for."""


class Proxy(_Base, Generic[T]):
    """Behaves as the object that ``factory`` gives, which is fetched when it is first used.

    Thread-safe: however many threads use it first, the factory is called once; when it fails, the next use tries again.
    Pickling, copying, ``repr``, notebook display and, where ``kind`` is known, ``isinstance`` do not fetch the object.

    Args:
        factory: a callable without arguments; picklable if the proxy is to be pickled.
        kind: the target's class, or "module:qualname", if known.
    """

    __slots__ = ("__fp_factory__", "__fp_kind__", "__fp_target__", "__weakref__")
    __fp_factory__: Callable[[], T]
    __fp_kind__: str | None
    __fp_target__: Any

    def __init__(self, factory: Callable[[], T], kind: type[T] | str | None = None) -> None:
        _set_factory(self, factory)
        _set_kind(self, kind if kind is None or type(kind) is str else type_name(cast("type", kind)))

    def __getattr__(self, name: str) -> Any:
        try:
            target = _get_target(self)  # past the attribute look-up, which would come here again
        except AttributeError:
            if name.startswith(_PROBES):
                raise AttributeError(name) from None
            target = fetch_target(self)
            if name == "__fp_target__":
                return target
        return getattr(target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__fp_target__":
            object.__setattr__(self, name, value)
        else:
            setattr(self.__fp_target__, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__fp_target__, name)

    @property
    def __class__(self) -> Any:
        if self.__fp_kind__ is not None and not is_resolved(self):
            kind = _loaded_type(self.__fp_kind__)
            if kind is not None:
                return kind
        return self.__fp_target__.__class__

    @__class__.setter
    def __class__(self, value: Any) -> None:
        self.__fp_target__.__class__ = value

    def __dir__(self) -> list[str]:
        if is_resolved(self):
            return dir(self.__fp_target__)
        kind = None if self.__fp_kind__ is None else _loaded_type(self.__fp_kind__)
        return dir(type(self) if kind is None else kind)

    def __repr__(self) -> str:
        if is_resolved(self):
            return repr(self.__fp_target__)
        kind = f" of {self.__fp_kind__}" if self.__fp_kind__ else ""
        return f"<Proxy{kind}, not resolved: {_where(self.__fp_factory__)}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        factory = self.__fp_factory__
        if isinstance(factory, Factory):
            recipe = factory.reduce_proxy(self.__fp_kind__)
            if recipe is not None:
                return recipe
        return type(self), (factory, self.__fp_kind__)

    def __reduce__(self) -> Any:
        return self.__reduce_ex__(5)

    def __copy__(self) -> Any:
        return _copied(self, copy.copy)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _copied(self, lambda target: copy.deepcopy(target, memo))


_set_factory: Callable[[Any, Any], None] = Proxy.__dict__["__fp_factory__"].__set__
_set_kind: Callable[[Any, Any], None] = Proxy.__dict__["__fp_kind__"].__set__
_set_target: Callable[[Any, Any], None] = Proxy.__dict__["__fp_target__"].__set__
_get_target: Callable[[Any], Any] = Proxy.__dict__["__fp_target__"].__get__


def is_resolved(proxy: Proxy[Any]) -> bool:
    """Whether the target is already here."""
    try:
        _get_target(proxy)
    except AttributeError:
        return False
    return True


def fill(proxy: Proxy[T], target: Any) -> None:
    """Give an unresolved proxy its target. A target that is a proxy itself is resolved: proxies do not nest."""
    while isinstance(target, Proxy):
        target = target.__fp_target__
    _set_target(proxy, target)


def type_name(kind: type) -> str | None:
    """"module:qualname" of a class that others can know by that name, else None."""
    if "<" in kind.__qualname__ or kind.__module__ == "__main__":
        return None
    return f"{kind.__module__}:{kind.__qualname__}"


def full_name(kind: type) -> str:
    """``module.qualname``; builtins without a module."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def fetch_target(proxy: Proxy[Any]) -> Any:
    """The target, fetched unless it is here; once for all threads that ask for it now."""
    try:
        return _flights.run(id(proxy), partial(_fetch, proxy))[0]
    except RecursiveFlightError as exc:
        raise ProxyResolveError(f"{_where(proxy.__fp_factory__)} needs itself to be resolved") from exc


def _fetch(proxy: Proxy[Any]) -> Any:
    if is_resolved(proxy):  # by the flight that landed just before this one took off
        return _get_target(proxy)
    factory = proxy.__fp_factory__
    try:
        target = factory()
    except Exception as exc:
        raise resolve_error(factory, exc) from exc
    if isinstance(target, Proxy):
        fill(proxy, target)
        return _get_target(proxy)
    _set_target(proxy, target)
    return target


def resolve_error(factory: Any, exc: Exception) -> ProxyResolveError:
    """The error for a target that could not be had."""
    hint = (exc.hint if isinstance(exc, FedproxyError) else None) or "using the proxy again tries again"
    reason = exc.message if isinstance(exc, FedproxyError) else f"{type(exc).__name__}: {exc}"
    return ProxyResolveError(f"cannot resolve {_where(factory)}: {reason}", hint=hint)


def _where(factory: Any) -> str:
    return factory.where() if isinstance(factory, Factory) else repr(factory)


def _loaded_type(name: str) -> Any:
    """The class, where its module is loaded; asking must not import anything."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for step in path.split("."):
        found = getattr(found, step, None)
    return found if isinstance(found, type) else None


def _copied(proxy: Proxy[T], copier: Callable[[Any], Any]) -> Proxy[T]:
    twin: Proxy[T] = Proxy(proxy.__fp_factory__, proxy.__fp_kind__)
    if is_resolved(proxy):
        _set_target(twin, copier(_get_target(proxy)))
    return twin
