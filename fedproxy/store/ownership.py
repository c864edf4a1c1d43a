"""Proxies that own their object, and borrowed ones.

The rules are Rust's: an object has one owner and goes with it; any number may borrow it to read, or one to change it.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fedproxy.errors import FedproxyError, OwnershipError
from fedproxy.proxy import Proxy
from fedproxy.proxy.proxy import fill, is_resolved
from fedproxy.serialize import serialize
from fedproxy.store.proxies import RefFactory, load_proxy, ref_of
from fedproxy.store.ref import Ref
from fedproxy.store.registry import open_store

if TYPE_CHECKING:
    from fedproxy.store.store import Store

T = TypeVar("T")


class _Ownership:
    """What owner and borrowers share."""

    def __init__(self, store: Store, ref: Ref) -> None:
        self.store = store
        self.ref = ref
        self.readers = 0
        self.has_writer = False
        self.gone = False
        self.lock = threading.Lock()

    def lend(self, *, mutable: bool) -> None:
        with self.lock:
            if self.gone:
                raise OwnershipError("the owner is gone, and its object with it", key=self.ref.key)
            if self.has_writer:
                raise OwnershipError("the object is borrowed to be changed", key=self.ref.key)
            if mutable and self.readers:
                raise OwnershipError(f"the object is borrowed {self.readers} times", key=self.ref.key)
            self.has_writer = mutable
            self.readers += not mutable

    def give_back(self, mutable: bool) -> None:
        with self.lock:
            if mutable:
                self.has_writer = False
            else:
                self.readers -= 1

    def end(self) -> None:
        with self.lock:
            if self.gone:
                return
            self.gone = True
        with suppress(FedproxyError):  # a store that is closed or gone has no object to evict
            self.store.evict(self.ref)


class OwnedProxy(Proxy[T]):
    """Owns its object: when the proxy goes, the object is evicted. Not picklable: send a ``borrow``."""

    __slots__ = ("__fp_owner__",)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise OwnershipError("a proxy that owns its object cannot be sent", hint="send borrow(proxy) instead")


class RefProxy(Proxy[T]):
    """Borrowed to read."""

    __slots__ = ("__fp_owner__",)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _as_plain(self)


class RefMutProxy(Proxy[T]):
    """Borrowed to change: ``update`` stores what became of the object."""

    __slots__ = ("__fp_owner__",)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _as_plain(self)


_OwnerProxy = (OwnedProxy, RefProxy, RefMutProxy)


def _as_plain(proxy: Any) -> tuple[Any, ...]:
    ref = _ownership(proxy).ref
    return load_proxy, (ref.store, ref.key, ref.size, ref.digest, ref.site)


def _ownership(proxy: Any) -> _Ownership:
    if type(proxy) not in _OwnerProxy:
        raise OwnershipError("not an owned or borrowed proxy", hint="make one with store.owned_proxy or into_owned")
    return cast("_Ownership", type(proxy).__dict__["__fp_owner__"].__get__(proxy))


def _make(kind: Any, ownership: _Ownership, name: str | None) -> Any:
    proxy = kind(RefFactory(ownership.ref), name)
    kind.__dict__["__fp_owner__"].__set__(proxy, ownership)
    return proxy


def own(store: Store, ref: Ref, kind: str | None = None) -> OwnedProxy[Any]:
    """An owner for a stored object."""
    ownership = _Ownership(store, ref)
    proxy: OwnedProxy[Any] = _make(OwnedProxy, ownership, kind)
    weakref.finalize(proxy, ownership.end)
    return proxy


def borrow(owned: OwnedProxy[T]) -> RefProxy[T]:
    """Borrow to read; given back when the borrowed proxy goes.

    Raises:
        OwnershipError: it is borrowed to be changed, or gone.
    """
    return cast("RefProxy[T]", _lend(owned, RefProxy, mutable=False))


def mut_borrow(owned: OwnedProxy[T]) -> RefMutProxy[T]:
    """Borrow to change; given back when the borrowed proxy goes.

    Raises:
        OwnershipError: it is borrowed, or gone.
    """
    return cast("RefMutProxy[T]", _lend(owned, RefMutProxy, mutable=True))


def _lend(owned: Any, kind: Any, *, mutable: bool) -> Any:
    if type(owned) is not OwnedProxy:
        raise OwnershipError("only an owner can lend", hint="make one with store.owned_proxy or into_owned")
    ownership = _ownership(owned)
    ownership.lend(mutable=mutable)
    proxy = _make(kind, ownership, owned.__fp_kind__)
    weakref.finalize(proxy, ownership.give_back, mutable)
    return proxy


def clone(owned: OwnedProxy[T]) -> OwnedProxy[T]:
    """An owner of a copy."""
    ownership = _ownership(owned)
    return own(ownership.store, ownership.store.put(owned.__fp_target__), owned.__fp_kind__)


def into_owned(proxy: Proxy[T]) -> OwnedProxy[T]:
    """An owner for the object of a plain proxy, which must not be used by others any more.

    Raises:
        OwnershipError: the proxy has an owner already, or its object lies in no store.
    """
    ref = ref_of(proxy)
    if type(proxy) in _OwnerProxy or ref is None:
        raise OwnershipError("this proxy's object has an owner already, or lies in no store")
    owned: OwnedProxy[T] = own(open_store(ref.store), ref, proxy.__fp_kind__)
    if is_resolved(proxy):
        fill(owned, proxy.__fp_target__)
    return owned


def update(proxy: OwnedProxy[T] | RefMutProxy[T]) -> None:
    """Store what became of the object, under its key.

    Raises:
        OwnershipError: it is borrowed to read, or this proxy only reads.
    """
    ownership = _ownership(proxy)
    if type(proxy) is RefProxy:
        raise OwnershipError("it was borrowed to read", key=ownership.ref.key, hint="use mut_borrow")
    if type(proxy) is OwnedProxy and (ownership.readers or ownership.has_writer):
        raise OwnershipError("the object is borrowed", key=ownership.ref.key)
    if not is_resolved(proxy):
        return
    ownership.store._cache.discard(ownership.ref.key)
    ownership.ref = ownership.store.put_frame(serialize(proxy.__fp_target__), key=ownership.ref.key)


def delete(owned: OwnedProxy[Any]) -> None:
    """Evict the object now.

    Raises:
        OwnershipError: it is borrowed.
    """
    ownership = _ownership(owned)
    if ownership.readers or ownership.has_writer:
        raise OwnershipError("the object is borrowed", key=ownership.ref.key)
    ownership.end()
