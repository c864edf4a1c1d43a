"""Refs as proxies, and as arguments that are there when a function starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from fedproxy.errors import FedproxyError
from fedproxy.protocol.carried import collects
from fedproxy.proxy import Factory, Proxy
from fedproxy.store import elsewhere
from fedproxy.store.ref import Ref
from fedproxy.store.registry import get_store, open_store

if TYPE_CHECKING:
    from fedproxy.store.store import Store

_MAX_KIND_CHARS = 48
loaded: list[Ref] | None = None
"""While somebody asks what a frame leads to (see `reach`): the refs of the proxies that were unpickled."""


def fetch(ref: Ref) -> Any:
    """The object, from its store.

    Raises:
        DataLostError: it is not there any more.
        StoreUnavailableError: its store cannot be reached from here.
    """
    store = _opened(ref.store)
    if store is not None or elsewhere.at_hand(ref):
        return (store or open_store(ref.store)).get(ref)
    return elsewhere.load_elsewhere([ref])[0]


def _opened(url: str) -> Store | None:
    """The store if this process has used it; only its own site's where others are not to be read in place."""
    return None if elsewhere.own_sites_only() else get_store(url)


class RefFactory(Factory[Any]):
    """Fetches the object of a ref; with ``evict``, removes it from its store afterwards."""

    __slots__ = ("evict", "ref")

    def __init__(self, ref: Ref, *, evict: bool = False) -> None:
        self.ref = ref
        self.evict = evict

    def __call__(self) -> Any:
        """The object."""
        value = fetch(self.ref)
        if self.evict:
            _evict(self.ref)
        return value

    def __repr__(self) -> str:
        return f"RefFactory({self.ref!r})"

    def where(self) -> str:
        """Key, store and site."""
        return _where(self.ref)

    def reduce_proxy(self, kind: str | None) -> tuple[Any, ...]:
        """A recipe that keeps a pickled proxy under 200 bytes."""
        ref = self.ref
        _note(ref)
        if kind is None and not self.evict:
            return load_proxy, (ref.store, ref.key, ref.size, ref.digest, ref.site)
        return load_proxy, (ref.store, ref.key, ref.size, ref.digest, ref.site, kind, self.evict)

    def __reduce__(self) -> tuple[Any, ...]:
        _note(self.ref)
        return _load_factory, (self.ref, self.evict)

    @classmethod
    def resolve_many(cls, factories: Sequence[Any]) -> list[Any]:
        """One batch per store."""
        groups: dict[str, list[int]] = {}
        for index, factory in enumerate(factories):
            groups.setdefault(factory.ref.store, []).append(index)
        results: list[Any] = [None] * len(factories)
        for url, indexes in groups.items():
            for index, value in zip(indexes, _get_many(url, [factories[i].ref for i in indexes]), strict=True):
                results[index] = value
        for factory, value in zip(factories, results, strict=True):
            if factory.evict and not isinstance(value, FedproxyError):
                _evict(factory.ref)
        return results


def _get_many(url: str, refs: list[Ref]) -> list[Any]:
    try:
        if _opened(url) is None and not elsewhere.at_hand(refs[0]):
            return elsewhere.load_elsewhere(refs)
        return open_store(url).get_batch(refs, errors="return")
    except FedproxyError as exc:
        return [exc] * len(refs)


def _evict(ref: Ref) -> None:
    """Remove the object where its store can be reached; elsewhere its time to live ends it."""
    if elsewhere.at_hand(ref):
        open_store(ref.store).evict(ref)


def _note(ref: Ref) -> None:
    """Whoever collects refs (see `carried`) hears of this one."""
    found = collects()
    if found is not None:
        found.append(ref.to_bytes())


def _load_factory(ref: Ref, evict: bool) -> RefFactory:
    if loaded is not None:
        loaded.append(ref)
    return RefFactory(ref, evict=evict)


def load_proxy(
    store: str, key: str, size: int, digest: bytes, site: str, kind: str | None = None, evict: bool = False
) -> Proxy[Any]:
    """What a pickled proxy calls."""
    ref = Ref(store, key, size, digest, site)
    if loaded is not None:
        loaded.append(ref)
    return Proxy(RefFactory(ref, evict=evict), kind)


def proxy_from_ref(ref: Ref, *, kind: type | str | None = None, evict: bool = False) -> Proxy[Any]:
    """A lazy proxy of the object that ``ref`` means."""
    proxy: Proxy[Any] = Proxy(RefFactory(ref, evict=evict), kind)
    return proxy


def short_kind(name: str | None) -> str | None:
    """The class name if a pickled proxy has room for it."""
    return name if name is not None and len(name) <= _MAX_KIND_CHARS else None


def ref_of(proxy: Proxy[Any]) -> Ref | None:
    """The ref of a proxy that lies in a store, else None."""
    factory = proxy.__fp_factory__
    return factory.ref if isinstance(factory, RefFactory) else None


@frozen
class Staged:
    """An argument that pickles as "fetch this": whoever unpickles it has the object itself."""

    ref: Ref

    def __reduce__(self) -> tuple[Any, ...]:
        ref = self.ref
        _note(ref)
        return load_staged, (ref.store, ref.key, ref.size, ref.digest, ref.site)


def load_staged(store: str, key: str, size: int, digest: bytes, site: str) -> Any:
    """What a pickled ``Staged`` calls."""
    return fetch(Ref(store, key, size, digest, site))


def _where(ref: Ref) -> str:
    return f"{ref.key} in {ref.store}" + (f" at {ref.site}" if ref.site else "")
