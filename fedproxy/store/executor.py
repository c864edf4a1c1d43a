"""Any executor, with large arguments and results through a store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from attrs import frozen

from fedproxy.proxy import Proxy
from fedproxy.serialize import serialize
from fedproxy.store.proxies import proxy_from_ref
from fedproxy.store.registry import open_store

if TYPE_CHECKING:
    from fedproxy.store.ref import Ref
    from fedproxy.store.store import Store

DEFAULT_THRESHOLD_BYTES = 64 * 1024


class StoreExecutor(Executor):
    """Runs on ``executor``; each argument and each result above the threshold travels as a proxy of its own.

    ``map`` proxies the items, not the iterables. What was stored for a call is evicted when the call is over.
    """

    def __init__(
        self, executor: Executor, store: Store, *, threshold_bytes: int = DEFAULT_THRESHOLD_BYTES,
        close_executor: bool = True,
    ) -> None:
        self._executor = executor
        self._store = store
        self._threshold = threshold_bytes
        self._close_executor = close_executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """``executor.submit``; the function sees proxies for what is large."""
        stored: list[Ref] = []
        call = _Call(fn, self._store.url, self._threshold)
        try:
            args = tuple(self._stow(arg, stored) for arg in args)
            kwargs = {name: self._stow(arg, stored) for name, arg in kwargs.items()}
            future = self._executor.submit(call, *args, **kwargs)
        except BaseException:
            self._store.evict_batch(stored)
            raise
        if stored:
            future.add_done_callback(lambda _: self._store.evict_batch(stored))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down; the store stays open."""
        if self._close_executor:
            self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _stow(self, arg: Any, stored: list[Ref]) -> Any:
        proxied = _stow(arg, self._store, self._threshold)
        if proxied is not arg:
            stored.append(proxied.__fp_factory__.ref)
        return proxied


@frozen
class _Call:
    """What runs on the executor."""

    function: Callable[..., Any]
    url: str
    threshold: int

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _stow(self.function(*args, **kwargs), open_store(self.url), self.threshold)


def _stow(obj: Any, store: Store, threshold: int) -> Any:
    if type(obj) in _SMALL or isinstance(obj, Proxy):
        return obj
    frame = serialize(obj, options=store._frames)
    return obj if frame.nbytes <= threshold else proxy_from_ref(store.put_frame(frame))


_SMALL = (type(None), bool, int, float, complex)
