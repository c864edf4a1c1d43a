"""What a connector does, counted: ``Store(Metered(connector))``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from attrs import define, frozen

from fedproxy.store.connectors.base import Buffer, Connector, Parts, parts_nbytes


@frozen
class OperationStats:
    """One operation so far."""

    calls: int
    failures: int
    seconds: float
    nbytes: int

    @property
    def mean_s(self) -> float:
        """Seconds per call."""
        return self.seconds / self.calls if self.calls else 0.0


@define
class _Counter:
    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    nbytes: int = 0


class Metered:
    """A connector that counts calls, failures, seconds and bytes. It has exactly the powers of what it wraps."""

    def __init__(self, connector: Connector, *, now: Callable[[], float] = time.perf_counter) -> None:
        self.inner = connector
        self.url = connector.url
        self.in_memory = connector.in_memory
        self._now = now
        self._lock = threading.Lock()
        self._counters: dict[str, _Counter] = {}

    def stats(self) -> dict[str, OperationStats]:
        """By operation; a snapshot."""
        with self._lock:
            return {
                name: OperationStats(counter.calls, counter.failures, counter.seconds, counter.nbytes)
                for name, counter in self._counters.items()
            }

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """As the inner connector."""
        key = self._call("put", self.inner.put, parts, key=key, ttl_s=ttl_s)
        self._add_bytes("put", parts_nbytes(parts))
        return key

    def get(self, key: str) -> Buffer | None:
        """As the inner connector."""
        data: Buffer | None = self._call("get", self.inner.get, key)
        if data is not None:
            self._add_bytes("get", len(data))
        return data

    def exists(self, key: str) -> bool:
        """As the inner connector."""
        return bool(self._call("exists", self.inner.exists, key))

    def evict(self, key: str) -> None:
        """As the inner connector."""
        self._call("evict", self.inner.evict, key)

    def close(self, *, clear: bool = False) -> None:
        """As the inner connector."""
        self.inner.close(clear=clear)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)  # AttributeError where the inner one has not this power
        if name.startswith("_") or not callable(method):
            return method
        return lambda *args, **kwargs: self._call(name, method, *args, **kwargs)

    def _call(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        start = self._now()
        failed = 1
        try:
            result = method(*args, **kwargs)
            failed = 0
            return result
        finally:
            seconds = self._now() - start
            with self._lock:
                counter = self._counters.setdefault(name, _Counter())
                counter.calls += 1
                counter.failures += failed
                counter.seconds += seconds

    def _add_bytes(self, name: str, nbytes: int) -> None:
        with self._lock:
            self._counters.setdefault(name, _Counter()).nbytes += nbytes
