"""What a call is by its content: the name under which its value is remembered (memoization).

Strategy: a tree of digests over exact types. Two calls share a name only if function and arguments are the same in every byte that counts; where that
cannot be told (an object whose pickle differs from run to run), the names differ and the call is run again. A wrong value is never an option, a run too
many is.

A function is its code, its defaults, what it captures, and those globals that it names: values by content, functions and classes of the user's own modules
by their code in turn, installed ones by name. What it reaches in other ways (files, time, the network, names made up at run time) nobody sees here.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import xxhash

from fedproxy.dispatch.future import TaskFuture
from fedproxy.proxy import Proxy
from fedproxy.serialize import serialize
from fedproxy.serialize.origin import goes_by_value
from fedproxy.store.proxies import ref_of
from fedproxy.store.registry import open_store

_SIZE = 16
_NUMBERS = frozenset({int, float, bool, complex, type(None)})
_DEEP = 50


class NotKnownError(Exception):
    """The content of an argument is not known yet: a future of a task that has not ended."""


def call_key(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], container: str = "") -> bytes | None:
    """The name of a call; None where an argument is a future whose value is not known, nor the name of its call.

    Raises:
        SerializationError: an argument cannot be pickled.
    """
    content = _Content()
    try:
        named = [content.join(b"kw", [content.of(name), content.of(kwargs[name])]) for name in sorted(kwargs)]
        return content.join(b"call", [container.encode(), content.of(function), *map(content.of, args), *named])
    except NotKnownError:
        return None


class _Content:
    """Digests of values. Remembers the functions, classes and objects that it has looked at, so that recursion ends."""

    def __init__(self) -> None:
        self._looking_at: dict[int, tuple[int, Any]] = {}
        """By identity: number, and the object itself, which keeps the identity its own."""

    def _again(self, value: Any) -> bytes | None:
        """A mark for what was looked at before."""
        seen = self._looking_at.get(id(value))
        if seen is not None:
            return self.join(b"again", [seen[0].to_bytes(8, "little")])
        self._looking_at[id(value)] = len(self._looking_at), value
        return None

    @staticmethod
    def join(tag: bytes, parts: Iterable[bytes]) -> bytes:
        state = hashlib.blake2b(tag + b"\0", digest_size=_SIZE)
        for part in parts:
            state.update(len(part).to_bytes(8, "little"))
            state.update(part)
        return state.digest()

    def of(self, value: Any) -> bytes:
        kind = type(value)
        if kind in _NUMBERS:
            return self.join(kind.__name__.encode(), [repr(value).encode()])
        if kind is str:
            return self.join(b"str", [value.encode("utf-8", "surrogatepass")])
        if kind is bytes or kind is bytearray:
            return self._large(kind.__name__.encode(), value)
        special = _KINDS.get(kind)
        if special is not None:
            return special(self, value)
        if isinstance(value, TaskFuture):
            return self._future(value)
        if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
            return self._array(value)
        if isinstance(value, type):
            return self._class(value)
        return self._other(value)

    def _large(self, tag: bytes, buffer: Any) -> bytes:
        """Bytes by a digest that keeps up with memory."""
        view = memoryview(buffer).cast("B")
        return self.join(tag, [len(view).to_bytes(8, "little"), xxhash.xxh3_128_digest(view)])

    def _items(self, value: Any) -> bytes:
        tag = type(value).__name__.encode()
        if len(value) > _DEEP and all(type(item) in _NUMBERS for item in value):
            return self._large(tag + b" of numbers", pickle.dumps(value, 5))
        return self.join(tag, map(self.of, value))

    def _set(self, value: Any) -> bytes:
        return self.join(type(value).__name__.encode(), sorted(map(self.of, value)))

    def _dict(self, value: dict[Any, Any]) -> bytes:
        """In their order: a function may well depend on it."""
        return self.join(b"dict", (digest for pair in value.items() for digest in map(self.of, pair)))

    def _array(self, value: Any) -> bytes:
        if value.dtype.hasobject:
            return self._other(value)
        dense = value if value.flags.c_contiguous else value.copy(order="C")
        about = self.of((str(value.dtype.descr), value.shape))
        return self.join(b"array", [about, self._large(b"data", dense.reshape(-1).view("u1") if dense.size else b"")])

    def _proxy(self, value: Proxy[Any]) -> bytes:
        """What lies in a store is what it is: by its digest where that covers all of it, else by its place."""
        ref = ref_of(value)
        if ref is None:
            return self._other(value)
        if ref.digest and not open_store(ref.store).connector.in_memory:
            return self.join(b"object", [ref.size.to_bytes(8, "little"), ref.digest])
        return self.join(b"ref", [ref.to_bytes()])

    def _future(self, value: TaskFuture[Any]) -> bytes:
        if value.memo:
            return self.join(b"result", [value.memo])
        if value.done() and not value.cancelled() and value.exception() is None:
            return self.of(value.result())
        raise NotKnownError

    def _partial(self, value: partial[Any]) -> bytes:
        return self.join(b"partial", [self.of(value.func), self.of(value.args), self.of(value.keywords)])

    def _method(self, value: types.MethodType) -> bytes:
        return self.join(b"method", [self.of(value.__self__), self.of(value.__func__)])

    def _function(self, value: types.FunctionType) -> bytes:
        if (again := self._again(value)) is not None:
            return again
        code = value.__code__
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        named = [name for name in _names(code) if name in value.__globals__]
        return self.join(b"function", [
            self._code(code), self.of(value.__defaults__), self.of(value.__kwdefaults__), *map(self.of, cells),
            *(self.join(name.encode(), [self._global(value.__globals__[name])]) for name in named)])

    def _global(self, value: Any) -> bytes:
        """What a function names: installed software and modules by name, all else by content."""
        if isinstance(value, types.ModuleType):
            return self.join(b"module", [value.__name__.encode()])
        if isinstance(value, types.FunctionType | type) and not goes_by_value(value.__module__):
            return self.join(b"installed", [f"{value.__module__}.{value.__qualname__}".encode()])
        return self.of(value)

    def _code(self, code: types.CodeType) -> bytes:
        """Code without the places it came from."""
        constants = [self._code(c) if isinstance(c, types.CodeType) else self.of(c) for c in code.co_consts]
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount, code.co_kwonlyargcount, code.co_flags)
        return self.join(b"code %d.%d" % sys.version_info[:2], [code.co_code, self.of(names), *constants])

    def _class(self, value: type) -> bytes:
        name = f"{value.__module__}.{value.__qualname__}".encode()
        if not goes_by_value(value.__module__):
            return self.join(b"installed", [name])
        if (again := self._again(value)) is not None:
            return again
        members = ((key, member) for key, member in sorted(vars(value).items()) if key not in _NOT_CONTENT)
        bases = [self._class(base) for base in value.__bases__]
        return self.join(b"class", [name, *bases, *(self.join(key.encode(), [self._member(member)]) for key, member in members)])

    def _member(self, member: Any) -> bytes:
        if isinstance(member, staticmethod | classmethod):
            return self.join(type(member).__name__.encode(), [self.of(member.__func__)])
        if isinstance(member, property):
            return self.join(b"property", [self.of(each) for each in (member.fget, member.fset, member.fdel)])
        if isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType):
            return self.join(b"slot", [member.__name__.encode()])
        return self.of(member)

    def _other(self, value: Any) -> bytes:
        """By its class and what it would be pickled from; what does not say that, by its pickle."""
        if (again := self._again(value)) is not None:
            return again
        made = _recipe(value)
        if made is None:
            return self.join(b"pickle", [self._class(type(value)), *(self._large(b"part", part) for part in serialize(value).parts)])
        maker, args, *rest = made
        return self.join(b"made", [self._class(type(value)), self._global(maker), *map(self.of, args), *map(self.of, rest)])


def _recipe(value: object) -> tuple[Any, ...] | None:
    """How pickle would make an ordinary object again: maker, arguments, state, items."""
    try:
        made = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - the user's code may raise anything; pickle may know another way
        return None
    if not isinstance(made, tuple):
        return None
    maker, args, *rest = made
    return maker, args, *(list(each) if isinstance(each, Iterator) else each for each in rest)


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises where it is empty
    except ValueError:
        return False
    return True


def _names(code: types.CodeType) -> list[str]:
    """The names that code and the functions in it may look up among globals."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(_names(constant))
    return sorted(found)


_NOT_CONTENT = frozenset({"__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"})
_KINDS: dict[type, Callable[[_Content, Any], bytes]] = {
    list: _Content._items, tuple: _Content._items, set: _Content._set, frozenset: _Content._set, dict: _Content._dict, Proxy: _Content._proxy,
    types.FunctionType: _Content._function, types.MethodType: _Content._method, partial: _Content._partial,
}
