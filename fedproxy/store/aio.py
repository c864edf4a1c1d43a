"""The second face of a store: the same methods as coroutines, run in background threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from fedproxy.proxy.background import submit_in_background

if TYPE_CHECKING:
    from fedproxy.proxy import Proxy
    from fedproxy.store.ref import Ref, RefBatch
    from fedproxy.store.store import Store

T = TypeVar("T")


async def _run(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    return await asyncio.wrap_future(submit_in_background(lambda: function(*args, **kwargs)))


@frozen
class AsyncStore:
    """A store for asyncio: nothing blocks the event loop."""

    store: Store

    async def put(self, obj: Any, **kwargs: Any) -> Ref:
        """``Store.put``."""
        return await _run(self.store.put, obj, **kwargs)

    async def get(self, ref: Ref | str, **kwargs: Any) -> Any:
        """``Store.get``."""
        return await _run(self.store.get, ref, **kwargs)

    async def exists(self, ref: Ref | str) -> bool:
        """``Store.exists``."""
        return await _run(self.store.exists, ref)

    async def evict(self, ref: Ref | str) -> None:
        """``Store.evict``."""
        await _run(self.store.evict, ref)

    async def put_batch(self, objects: Iterable[Any], **kwargs: Any) -> RefBatch:
        """``Store.put_batch``."""
        return await _run(self.store.put_batch, objects, **kwargs)

    async def get_batch(self, refs: Sequence[Ref | str], **kwargs: Any) -> list[Any]:
        """``Store.get_batch``."""
        return await _run(self.store.get_batch, refs, **kwargs)

    async def evict_batch(self, refs: Sequence[Ref | str]) -> None:
        """``Store.evict_batch``."""
        await _run(self.store.evict_batch, refs)

    async def prefetch(self, refs: Iterable[Ref | str]) -> None:
        """``Store.prefetch``."""
        await _run(self.store.prefetch, refs)

    async def proxy(self, obj: T, **kwargs: Any) -> Proxy[T]:
        """``Store.proxy``."""
        return await _run(self.store.proxy, obj, **kwargs)
