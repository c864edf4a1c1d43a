"""A place for an object that somebody will store later.

Strategy: a future is a key that is not there yet, so it pickles to a few bytes and any process can fulfil or await it.
Waiting is by push where the connector can push, else by looking with growing pauses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fedproxy.proxy import Factory, Proxy
from fedproxy.store.connectors.base import SupportsWait, new_key
from fedproxy.store.failures import StoredFailure
from fedproxy.store.registry import open_store

if TYPE_CHECKING:
    from fedproxy.store.store import Store

T = TypeVar("T")
_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.05


class StoreFuture(Generic[T]):
    """Set once, by whoever has it; read as often as wanted, by whoever has it."""

    def __init__(self, store: Store, key: str, ttl: float | None = None) -> None:
        self._store = store
        self.key = key
        self._ttl = ttl

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_future, (self._store.url, self.key, self._ttl)

    def set_result(self, obj: T) -> None:
        """Store the object and wake all who wait for it."""
        from fedproxy.serialize import serialize

        self._store.put_frame(serialize(obj), key=self.key, ttl=self._ttl)

    def set_exception(self, exc: BaseException) -> None:
        """Store an exception, which is raised to all who wait."""
        from fedproxy.serialize import serialize

        self._store.put_frame(serialize(StoredFailure.of(exc)), key=self.key, ttl=self._ttl)

    def sibling(self) -> StoreFuture[Any]:
        """A further future in the same store."""
        return new_future(self._store, self._ttl)

    def done(self) -> bool:
        """Whether a result or an exception is there."""
        return self._store.exists(self.key)

    def result(self, timeout: float | None = None) -> T:
        """The object, as soon as it is there.

        Raises:
            TimeoutError: it was not there within ``timeout`` seconds.
            Exception: what was given to ``set_exception``.
        """
        self.wait(timeout)
        value: T = self._store.get(self.key)
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What ``result`` would raise, or None.

        Raises:
            TimeoutError: nothing was there within ``timeout`` seconds.
        """
        self.wait(timeout)
        try:
            self._store.get(self.key)
        except Exception as exc:  # noqa: BLE001  any exception may have been stored
            return exc
        return None

    def wait(self, timeout: float | None = None) -> None:
        """Sleep until something is there.

        Raises:
            TimeoutError: nothing was there within ``timeout`` seconds.
        """
        connector = self._store.connector
        found = connector.wait(self.key, timeout) if isinstance(connector, SupportsWait) else self._look(timeout)
        if not found:
            raise TimeoutError(f"no result under {self.key} in {self._store.url} within {timeout} s")

    def add_done_callback(self, callback: Callable[[StoreFuture[T]], object]) -> None:
        """Call ``callback(self)`` in a thread of its own when something is there."""

        def watch() -> None:
            self.wait()
            callback(self)

        threading.Thread(target=watch, name=f"fedproxy-future-{self.key[:6]}", daemon=True).start()

    def proxy(self, *, timeout: float | None = None) -> Proxy[T]:
        """A proxy that waits for the object when it is first used, at most ``timeout`` seconds."""
        return Proxy(FutureFactory(self, timeout))

    def _look(self, timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE_S
        while not self.done():
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(pause if deadline is None else min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        return True


class FutureFactory(Factory[T]):
    """Waits for a future's object."""

    __slots__ = ("future", "timeout")

    def __init__(self, future: StoreFuture[T], timeout: float | None) -> None:
        self.future = future
        self.timeout = timeout

    def __call__(self) -> T:
        """The object, as soon as it is there."""
        return self.future.result(self.timeout)

    def where(self) -> str:
        """Key and store."""
        return f"future {self.future.key} in {self.future._store.url}"

    def __reduce__(self) -> tuple[Any, ...]:
        return FutureFactory, (self.future, self.timeout)


def new_future(store: Store, ttl: float | None) -> StoreFuture[Any]:
    """A future with a new key."""
    return StoreFuture(store, new_key(), ttl)


def _load_future(url: str, key: str, ttl: float | None) -> StoreFuture[Any]:
    return StoreFuture(open_store(url), key, ttl)
