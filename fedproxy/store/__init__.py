"""Objects over connectors: put, get, proxies. Loaded piece by piece, so that connectors alone bring no pickle."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedproxy.store.proxies import Staged, fetch, proxy_from_ref, ref_of
    from fedproxy.store.ref import Ref, RefBatch
    from fedproxy.store.registry import get_store, reachable, register_store, unregister_store
    from fedproxy.store.registry import open_store as get_or_create_store
    from fedproxy.store.store import Store
    from fedproxy.store.urls import StoreOptions

_HOMES = {
    "Ref": "ref:Ref",
    "RefBatch": "ref:RefBatch",
    "Staged": "proxies:Staged",
    "Store": "store:Store",
    "StoreOptions": "urls:StoreOptions",
    "fetch": "proxies:fetch",
    "get_or_create_store": "registry:open_store",
    "get_store": "registry:get_store",
    "proxy_from_ref": "proxies:proxy_from_ref",
    "reachable": "registry:reachable",
    "ref_of": "proxies:ref_of",
    "register_store": "registry:register_store",
    "unregister_store": "registry:unregister_store",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = home.partition(":")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return value


__all__ = [
    "Ref",
    "RefBatch",
    "Staged",
    "Store",
    "StoreOptions",
    "fetch",
    "get_or_create_store",
    "get_store",
    "proxy_from_ref",
    "reachable",
    "ref_of",
    "register_store",
    "unregister_store",
]
