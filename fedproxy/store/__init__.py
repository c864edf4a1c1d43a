"""Objects over connectors: put, get, proxies. Loaded piece by piece, so that connectors alone bring no pickle."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedproxy.store.aio import AsyncStore
    from fedproxy.store.executor import StoreExecutor
    from fedproxy.store.futures import StoreFuture
    from fedproxy.store.lifetimes import ContextLifetime, LeaseLifetime, StaticLifetime, static_lifetime
    from fedproxy.store.metrics import Metered
    from fedproxy.store.ownership import OwnedProxy, RefMutProxy, RefProxy, borrow, clone, into_owned, mut_borrow, update
    from fedproxy.store.proxies import Staged, fetch, proxy_from_ref, ref_of
    from fedproxy.store.ref import Ref, RefBatch
    from fedproxy.store.registry import get_store, reachable, register_store, unregister_store
    from fedproxy.store.registry import open_store as get_or_create_store
    from fedproxy.store.store import Store
    from fedproxy.store.urls import StoreOptions

_HOMES = {
    "AsyncStore": "aio:AsyncStore",
    "ContextLifetime": "lifetimes:ContextLifetime",
    "LeaseLifetime": "lifetimes:LeaseLifetime",
    "Metered": "metrics:Metered",
    "OwnedProxy": "ownership:OwnedProxy",
    "Ref": "ref:Ref",
    "RefBatch": "ref:RefBatch",
    "RefMutProxy": "ownership:RefMutProxy",
    "RefProxy": "ownership:RefProxy",
    "Staged": "proxies:Staged",
    "StaticLifetime": "lifetimes:StaticLifetime",
    "Store": "store:Store",
    "StoreExecutor": "executor:StoreExecutor",
    "StoreFuture": "futures:StoreFuture",
    "StoreOptions": "urls:StoreOptions",
    "borrow": "ownership:borrow",
    "clone": "ownership:clone",
    "fetch": "proxies:fetch",
    "get_or_create_store": "registry:open_store",
    "get_store": "registry:get_store",
    "into_owned": "ownership:into_owned",
    "mut_borrow": "ownership:mut_borrow",
    "proxy_from_ref": "proxies:proxy_from_ref",
    "reachable": "registry:reachable",
    "ref_of": "proxies:ref_of",
    "register_store": "registry:register_store",
    "static_lifetime": "lifetimes:static_lifetime",
    "unregister_store": "registry:unregister_store",
    "update": "ownership:update",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = home.partition(":")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return value


__all__ = [
    "AsyncStore",
    "ContextLifetime",
    "LeaseLifetime",
    "Metered",
    "OwnedProxy",
    "Ref",
    "RefBatch",
    "RefMutProxy",
    "RefProxy",
    "Staged",
    "StaticLifetime",
    "Store",
    "StoreExecutor",
    "StoreFuture",
    "StoreOptions",
    "borrow",
    "clone",
    "fetch",
    "get_or_create_store",
    "get_store",
    "into_owned",
    "mut_borrow",
    "proxy_from_ref",
    "reachable",
    "ref_of",
    "register_store",
    "static_lifetime",
    "unregister_store",
    "update",
]
