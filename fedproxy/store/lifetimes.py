"""How long objects stay: each lifetime evicts what was added to it when it ends."""

from __future__ import annotations

import atexit
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from fedproxy.errors import FedproxyError, StoreError

if TYPE_CHECKING:
    from fedproxy.proxy import Proxy
    from fedproxy.store.ref import Ref
    from fedproxy.store.store import Store


class Lifetime(Protocol):
    """Something that ends."""

    def add(self, store: Store, ref: Ref) -> None:
        """Evict ``ref`` when this ends.

        Raises:
            StoreError: it has ended.
        """
        ...

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def close(self) -> None:
        """End it now; idempotent."""
        ...


class ContextLifetime:
    """Ends with a ``with`` block, or when it is closed."""

    def __init__(self) -> None:
        self._objects: list[tuple[Store, Ref]] = []
        self._lock = threading.Lock()
        self._done = False

    def add(self, store: Store, ref: Ref) -> None:
        """Evict ``ref`` at the end."""
        with self._lock:
            if not self._done:
                self._objects.append((store, ref))
                return
        raise StoreError("this lifetime has ended", key=ref.key, hint="make a new one")

    def add_proxy(self, store: Store, *proxies: Proxy[object]) -> None:
        """Evict the objects of proxies at the end."""
        from fedproxy.store.proxies import ref_of

        for proxy in proxies:
            ref = ref_of(proxy)
            if ref is not None:
                self.add(store, ref)

    def done(self) -> bool:
        """Whether it has ended."""
        return self._done

    def close(self) -> None:
        """End it: evict everything, one batch per store."""
        with self._lock:
            self._done = True
            objects, self._objects = self._objects, []
        groups: dict[str, tuple[Store, list[Ref]]] = {}
        for store, ref in objects:
            groups.setdefault(store.url, (store, []))[1].append(ref)
        for store, refs in groups.values():
            with suppress(FedproxyError):  # a store that is gone holds nothing any more
                store.evict_batch(refs)

    def __enter__(self) -> ContextLifetime:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class LeaseLifetime(ContextLifetime):
    """Ends ``seconds`` from now unless it is extended. A thread of its own sees to it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._end = time.monotonic() + seconds
        threading.Thread(target=self._watch, name="fedproxy-lease", daemon=True).start()

    def extend(self, seconds: float) -> None:
        """Let it end ``seconds`` later."""
        with self._changed:
            self._end += seconds
            self._changed.notify_all()

    def close(self) -> None:
        """End it now."""
        with self._changed:
            self._end = 0.0
            self._changed.notify_all()
        super().close()

    def _watch(self) -> None:
        with self._changed:
            while (left := self._end - time.monotonic()) > 0:
                self._changed.wait(left)
        if not self._done:
            super().close()


class StaticLifetime(ContextLifetime):
    """Ends with the process. There is one: ``static_lifetime()``."""


_static: StaticLifetime | None = None
_static_lock = threading.Lock()


def static_lifetime() -> StaticLifetime:
    """The lifetime of this process."""
    global _static
    with _static_lock:
        if _static is None:
            _static = StaticLifetime()
            atexit.register(_static.close)
        return _static
