"""What travels inline and what goes through a store: arguments to bytes, large ones to refs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any, Protocol

from attrs import define, field, frozen

from fedproxy.config.lifetimes import TASK_DATA_TTL_S
from fedproxy.dispatch.future import TaskFuture
from fedproxy.errors import PayloadTooLargeError
from fedproxy.protocol.carried import carry, collecting
from fedproxy.protocol.codec import Buffer
from fedproxy.proxy import Proxy
from fedproxy.serialize import PLAIN, Frame, serialize, serialize_plain
from fedproxy.store import Ref, Staged
from fedproxy.store.upstream import ResultOf

_NEVER_LARGE = frozenset({Proxy, Staged, ResultOf, int, float, complex, bool, list, tuple, dict, type(None), FunctionType, BuiltinFunctionType})
"""Types whose values do not count as large by themselves."""


class Puts(Protocol):
    """Takes large arguments: a store, or what stands for one at another site."""

    def put_frame(self, frame: Frame, *, ttl: float | None = None) -> Ref:
        """Take what ``serialize`` made."""

    def evict(self, ref: Ref) -> None:
        """It is not needed any more."""


@frozen
class Policy:
    """How arguments travel to one endpoint."""

    store: Puts | None
    """The fastest store that both sides reach; else what pushes to the endpoint's site, or None."""
    threshold_bytes: int
    limit_bytes: int


@define
class Packed:
    """Arguments as they go into a batch."""

    parts: list[Buffer]
    """A frame, and in front of it the refs of all proxies in it."""
    refs: list[Ref] = field(factory=list)
    """Objects that were put for this task alone."""
    needs: list[TaskFuture[Any]] = field(factory=list)
    """Futures among the arguments."""

    @property
    def nbytes(self) -> int:
        """Bytes that travel through the service."""
        return sum(len(part) if type(part) is bytes else memoryview(part).nbytes for part in self.parts)

    @property
    def stored_bytes(self) -> int:
        """Bytes that travel through a store."""
        return sum(ref.size for ref in self.refs)


def pack(args: tuple[Any, ...], kwargs: dict[str, Any], policy: Policy) -> Packed:
    """Serialize the arguments of one call. Each argument above the threshold, and each such element of a list, tuple or dict that is an
    argument, is put in the store; the worker gets the object itself in its place.

    Raises:
        SerializationError: an argument cannot be pickled.
        PayloadTooLargeError: the arguments are over the limit, and no store is shared with the endpoint.
    """
    if not kwargs and PLAIN.issuperset(map(type, args)):
        plain = serialize_plain((args, kwargs))
        if plain.nbytes <= policy.threshold_bytes <= policy.limit_bytes:
            return Packed(plain.parts)
    packed: list[Ref] = []
    needs: list[TaskFuture[Any]] = []
    kinds = _kinds(args, kwargs)
    if any(issubclass(kind, TaskFuture) for kind in kinds):
        args, kwargs = _replace_futures(args, kwargs, needs)
    with collecting() as carried:  # also of what is put in the store: proxies inside it are needed too
        frame = _frame(args, kwargs, policy, packed, kinds)
    if frame.nbytes > policy.limit_bytes:
        raise PayloadTooLargeError(
            f"arguments of {frame.nbytes:,} bytes are over the limit of {policy.limit_bytes:,}"
            + (" and no store is shared with the endpoint" if policy.store is None else ", even with large ones in a store"),
            hint="give the endpoint a store that this client can reach, or pass large objects as arguments of their own")
    return Packed(carry(carried, frame.parts), packed, needs)


def _frame(args: tuple[Any, ...], kwargs: dict[str, Any], policy: Policy, packed: list[Ref], kinds: set[type]) -> Frame:
    if policy.store is not None and not kinds <= _NEVER_LARGE and any(_is_large(value, policy.threshold_bytes) for value in _leaves(args, kwargs)):
        args, kwargs = _stage(args, kwargs, lambda value: _is_large(value, policy.threshold_bytes), policy.store, packed)
    frame = serialize((args, kwargs))
    if frame.nbytes > policy.threshold_bytes and policy.store is not None:
        args, kwargs = _stage(args, kwargs, None, policy.store, packed, policy.threshold_bytes)
        frame = serialize((args, kwargs))
    return frame


def _kinds(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> set[type]:
    """The types of all leaves, at little cost."""
    found: set[type] = set()
    for value in (*args, *kwargs.values()):
        kind = type(value)
        found.add(kind)
        if kind is list or kind is tuple:
            found.update(map(type, value))
        elif kind is dict:
            found.update(map(type, value.values()))
    return found


def _leaves(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    for value in (*args, *kwargs.values()):
        yield value
        kind = type(value)
        if kind is list or kind is tuple:
            yield from value
        elif kind is dict:
            yield from value.values()


def _one_level(value: Any, replace: Callable[[Any], Any]) -> Any:
    """``replace`` for an argument, or for each element if it is a plain list, tuple or dict."""
    kind = type(value)
    if kind is list:
        return [replace(item) for item in value]
    if kind is tuple:
        return tuple(replace(item) for item in value)
    if kind is dict:
        return {key: replace(item) for key, item in value.items()}
    return replace(value)


def _replace_futures(args: tuple[Any, ...], kwargs: dict[str, Any], needs: list[TaskFuture[Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def mark(value: Any) -> Any:
        if not issubclass(type(value), TaskFuture):
            return value
        needs.append(value)
        return ResultOf(value.raw_id)

    return tuple(_one_level(value, mark) for value in args), {name: _one_level(value, mark) for name, value in kwargs.items()}


def _is_large(value: object, threshold_bytes: int) -> bool:
    """A cheap look: only for what knows its own size."""
    kind = type(value)
    if kind in (bytes, bytearray, str):
        return len(value) > threshold_bytes  # type: ignore[arg-type]
    if kind in _NEVER_LARGE:
        return False
    size = getattr(value, "nbytes", None)
    return isinstance(size, int) and size > threshold_bytes


def _stage(args: tuple[Any, ...], kwargs: dict[str, Any], wanted: Callable[[object], bool] | None, store: Puts, refs: list[Ref],
           threshold_bytes: int = 0) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def put(value: Any) -> Any:
        if type(value) in (Proxy, Staged, ResultOf, int, float, bool, type(None)) or (wanted is not None and not wanted(value)):
            return value
        frame = serialize(value)
        if wanted is None and frame.nbytes <= threshold_bytes:
            return value
        ref = store.put_frame(frame, ttl=TASK_DATA_TTL_S)
        refs.append(ref)
        return Staged(ref)

    def whole(value: Any) -> Any:
        """A container is looked into; what is still large because of many small elements goes as one object."""
        staged = _one_level(value, put)
        return put(staged) if wanted is None and type(staged) in (list, tuple, dict) else staged

    return tuple(map(whole, args)), {name: whole(value) for name, value in kwargs.items()}


