"""Transparent, lazy, thread-safe proxies. Knows nothing of stores: a factory brings the target."""

from fedproxy.errors import ProxyResolveError
from fedproxy.proxy.factory import Factory, LambdaFactory, SimpleFactory
from fedproxy.proxy.proxy import Proxy, is_resolved
from fedproxy.proxy.resolving import (
    aresolve,
    aresolve_batch,
    extract,
    get_factory,
    resolve,
    resolve_async,
    resolve_batch,
)

__all__ = [
    "Factory",
    "LambdaFactory",
    "Proxy",
    "ProxyResolveError",
    "SimpleFactory",
    "aresolve",
    "aresolve_batch",
    "extract",
    "get_factory",
    "is_resolved",
    "resolve",
    "resolve_async",
    "resolve_batch",
]
