"""Objects in this process: the reference for all other connectors, and a store for tests and threads.

``memory://NAME``: stores of one name share their objects within the process. What is put is copied, so that it cannot
change afterwards; what is got is immutable.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from attrs import define, field, frozen

from fedproxy.errors import ConfigError, StoreClosedError
from fedproxy.store.connectors.base import Buffer, Entry, Parts, Span, check_key, new_keys
from fedproxy.store.urls import StoreUrl


@frozen
class _Value:
    data: bytes
    expires: float | None


@define
class _Space:
    """What all connectors of one name share."""

    values: dict[str, _Value] = field(factory=dict)
    changed: threading.Condition = field(factory=threading.Condition)


_spaces: dict[str, _Space] = {}


class MemoryConnector:
    """A dictionary behind the connector contract."""

    in_memory = True

    def __init__(self, name: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self.url = f"memory://{name}"
        self._name = name
        self._space = _spaces.setdefault(name, _Space())
        self._now = now
        self._closed = False

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Keep a copy."""
        return self.put_batch([parts], keys=None if key is None else [key], ttl_s=ttl_s)[0]

    def get(self, key: str) -> Buffer | None:
        """The bytes as they were put."""
        value = self._live(check_key(key))
        return None if value is None else value.data

    def exists(self, key: str) -> bool:
        """Whether it is there and has not expired."""
        return self._live(check_key(key)) is not None

    def evict(self, key: str) -> None:
        """Forget it."""
        self._check_open()
        self._space.values.pop(check_key(key), None)

    def put_batch(
        self, items: Sequence[Parts], *, keys: Sequence[str] | None = None, ttl_s: float | None = None
    ) -> list[str]:
        """Keep copies."""
        self._check_open()
        names = new_keys(len(items)) if keys is None else [check_key(key) for key in keys]
        expires = None if ttl_s is None else self._now() + ttl_s
        values = [_Value(_joined(parts), expires) for parts in items]
        with self._space.changed:
            self._space.values.update(zip(names, values, strict=True))
            self._space.changed.notify_all()
        return names

    def get_batch(self, keys: Sequence[str]) -> list[Buffer | None]:
        """The bytes of each key."""
        return [self.get(key) for key in keys]

    def exists_batch(self, keys: Sequence[str]) -> list[bool]:
        """Whether each is there."""
        return [self.exists(key) for key in keys]

    def evict_batch(self, keys: Sequence[str]) -> None:
        """Forget them."""
        for key in keys:
            self.evict(key)

    def get_range(self, key: str, start: int, length: int) -> Buffer | None:
        """Part of the bytes."""
        value = self._live(check_key(key))
        return None if value is None else memoryview(value.data)[start : start + length]

    def get_ranges(self, spans: Sequence[Span]) -> list[Buffer | None]:
        """Parts of many objects."""
        return [self.get_range(*span) for span in spans]

    def touch(self, key: str, ttl_s: float | None) -> bool:
        """Change when it expires."""
        value = self._live(check_key(key))
        if value is None:
            return False
        self._space.values[key] = _Value(value.data, None if ttl_s is None else self._now() + ttl_s)
        return True

    def wait(self, key: str, timeout_s: float | None) -> bool:
        """Sleep until somebody puts it."""
        check_key(key)
        with self._space.changed:
            return self._space.changed.wait_for(lambda: self._live(key) is not None, timeout_s)

    def entries(self) -> Iterator[Entry]:
        """What is there now."""
        self._check_open()
        now = self._now()
        for key, value in list(self._space.values.items()):
            if value.expires is None or value.expires > now:
                yield Entry(key, len(value.data), None if value.expires is None else value.expires - now)

    def gc(self) -> int:
        """Drop what expired."""
        self._check_open()
        now = self._now()
        expired = [key for key, value in list(self._space.values.items()) if value.expires and value.expires <= now]
        return sum(self._space.values.pop(key, None) is not None for key in expired)

    def close(self, *, clear: bool = False) -> None:
        """Refuse further use; the objects stay for other connectors of this name unless ``clear``."""
        if clear and not self._closed:
            self._space.values.clear()
            _spaces.pop(self._name, None)
        self._closed = True

    def _live(self, key: str) -> _Value | None:
        self._check_open()
        value = self._space.values.get(key)
        if value is not None and value.expires is not None and value.expires <= self._now():
            self._space.values.pop(key, None)
            return None
        return value

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError("the store was closed", store=self.url, hint="make a new one with Store.from_url")


def _joined(parts: Parts) -> bytes:
    first = parts[0]
    return first if len(parts) == 1 and type(first) is bytes else b"".join(parts)


def connect(url: str) -> MemoryConnector:
    """``memory://NAME``."""
    parsed = StoreUrl.parse(url)
    parsed.only_options()
    if not parsed.host:
        raise ConfigError(f"a memory store needs a name: {url!r}", hint="memory://NAME")
    return MemoryConnector(parsed.host)


def reachable(url: str) -> bool:
    """Whether this process holds a memory store of this name."""
    return StoreUrl.parse(url).host in _spaces


os.register_at_fork(after_in_child=_spaces.clear)
