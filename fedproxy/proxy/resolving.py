"""Resolve proxies on purpose: one, many at once, in the background, from asyncio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from fedproxy.proxy.background import submit_in_background
from fedproxy.proxy.factory import Factory
from fedproxy.proxy.proxy import Proxy, fetch_target, fill, is_resolved, resolve_error

T = TypeVar("T")


def resolve(proxy: Proxy[T]) -> None:
    """Fetch the target now.

    Raises:
        ProxyResolveError: it could not be had; ``__cause__`` says why. A later attempt may succeed.
    """
    fetch_target(proxy)


def extract(proxy: Proxy[T]) -> T:
    """The target itself. What is not a proxy is given back as it is."""
    return cast("T", proxy.__fp_target__) if isinstance(proxy, Proxy) else proxy


def get_factory(proxy: Proxy[T]) -> Callable[[], T]:
    """The factory of a proxy."""
    return proxy.__fp_factory__


def resolve_batch(proxies: Iterable[Proxy[Any]]) -> None:
    """Resolve many at the price of few round trips.

    Raises:
        ProxyResolveError: for the first that could not be had, after all others were tried.
    """
    groups: dict[type, list[Proxy[Any]]] = {}
    for proxy in proxies:
        if not is_resolved(proxy):
            groups.setdefault(type(get_factory(proxy)), []).append(proxy)
    failures: list[Exception] = []
    for kind, group in groups.items():
        failures += _resolve_group(kind, group)
    if failures:
        raise failures[0]


def _resolve_group(kind: type, group: list[Proxy[Any]]) -> list[Exception]:
    many = kind.resolve_many if issubclass(kind, Factory) else Factory.resolve_many
    failures: list[Exception] = []
    for proxy, target in zip(group, many([get_factory(proxy) for proxy in group]), strict=True):
        if isinstance(target, Exception):
            error = resolve_error(get_factory(proxy), target)
            error.__cause__ = target
            failures.append(error)
        elif not is_resolved(proxy):
            fill(proxy, target)
    return failures


def resolve_async(proxy: Proxy[Any]) -> Future[None]:
    """Start resolving in the background; using the proxy waits for it. The future tells about failures."""
    if is_resolved(proxy):
        done: Future[None] = Future()
        done.set_result(None)
        return done
    return submit_in_background(resolve, proxy)


async def aresolve(proxy: Proxy[T]) -> T:
    """The target, without blocking the event loop."""
    if not is_resolved(proxy):
        import asyncio  # here, so that a process that never uses it need not load it

        await asyncio.wrap_future(resolve_async(proxy))
    return extract(proxy)


async def aresolve_batch(proxies: Iterable[Proxy[Any]]) -> None:
    """``resolve_batch``, without blocking the event loop."""
    import asyncio

    await asyncio.wrap_future(submit_in_background(resolve_batch, list(proxies)))
