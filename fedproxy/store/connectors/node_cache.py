"""One copy per node of what lies in a remote store.

``nodecache://?store=URL&cache=URL`` (percent-encoded); ``cache`` is shared memory of this node unless told otherwise.
Options: ``min_bytes`` (smaller objects are not worth a copy), ``lease_s`` (life of a copy).

Strategy: the first process on the node that wants an object fetches it under a lock between processes and puts it
into the cache, from which all map the same pages. Copies live by a lease, no longer than this process knows
the object to live. Replacing an object under its key is seen
at once by this node, and by others when their copy expires: named objects that change belong into the plain store.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from fedproxy.config.home import host_id
from fedproxy.errors import ConfigError, StoreClosedError, StoreError
from fedproxy.store.connectors.base import (
    Buffer,
    Connector,
    Entry,
    Parts,
    SupportsBatch,
    SupportsList,
    SupportsReachable,
    SupportsTouch,
    check_key,
)
from fedproxy.store.connectors.registry import connector_from_url

LOCKS = 1024
MIN_BYTES = 64 * 1024
LEASE_S = 3600.0
MOST_ENDS = 10_000


def connect(url: str) -> NodeCacheConnector:
    """The connector for a ``nodecache://`` URL.

    Raises:
        ConfigError: no ``store``, or an option that is not understood.
    """
    options = dict(parse_qsl(urlsplit(url).query))
    store = options.pop("store", "")
    if not store:
        raise ConfigError("nodecache:// needs a store", hint="nodecache://?store=URL, percent-encoded")
    named = options.pop("cache", "")
    cache = connector_from_url(named or copies_url(store))
    try:
        least, lease_s = int(options.pop("min_bytes", MIN_BYTES)), float(options.pop("lease_s", LEASE_S))
    except ValueError as exc:
        raise ConfigError("min_bytes and lease_s of nodecache:// are numbers") from exc
    if options:
        raise ConfigError(f"nodecache:// has no option {min(options)!r}", hint="store, cache, min_bytes, lease_s")
    made = NodeCacheConnector(connector_from_url(store), cache, min_bytes=least, lease_s=lease_s)
    if named and not named.startswith("shm:"):  # shared memory is another on each node
        made.url += f"&cache={quote(cache.url, safe='')}"
    return made


def copies_url(store: str) -> str:
    """Where this node keeps its copies of what lies in ``store`` (a URL), unless told otherwise."""
    return f"shm://{host_id()}/nodecache-{hashlib.sha256(store.encode()).hexdigest()[:12]}"


def clear_copies(store: str) -> None:
    """Remove this node's copies of what lies in ``store`` (a URL): it is going away."""
    connector_from_url(copies_url(store)).close(clear=True)


class NodeCacheConnector:
    """A remote connector with a cache that the processes of this node share."""

    def __init__(
        self, store: Connector, cache: Connector, *, min_bytes: int = MIN_BYTES, lease_s: float = LEASE_S
    ) -> None:
        self.store, self.cache = store, cache
        self.min_bytes, self.lease_s = min_bytes, lease_s
        self.url = f"nodecache://?store={quote(store.url, safe='')}" + _differing(min_bytes, lease_s)
        self.in_memory = False
        self._mark = hashlib.sha256(store.url.encode()).hexdigest()[:8]
        self._ends: dict[str, float] = {}
        self._closed = False

    def _local(self, key: str) -> str:
        """The key of the copy: another store's copies may lie in the same cache."""
        name = f"{self._mark}~{check_key(key)}"
        return name if len(name) <= 200 else hashlib.sha256(name.encode()).hexdigest()

    def put(self, parts: Parts, *, key: str | None = None, ttl_s: float | None = None) -> str:
        """Write to the store; see ``Connector.put``."""
        self._check_open()
        made = self.store.put(parts, key=key, ttl_s=ttl_s)
        if key is not None:
            self._drop(key)
        if ttl_s is not None and ttl_s < self.lease_s:
            self._remember_end(made, ttl_s)
        return made

    def _remember_end(self, key: str, ttl_s: float) -> None:
        """A copy made by this process is not to outlive its object; other processes' copies end with their lease."""
        now = time.monotonic()
        if len(self._ends) >= MOST_ENDS:
            self._ends = {known: end for known, end in self._ends.items() if end > now}
        self._ends[self._local(key)] = now + ttl_s

    def get(self, key: str) -> Buffer | None:
        """The copy of this node, made now where there is none."""
        self._check_open()
        local = self._local(key)
        if (copy := self._copy(local)) is not None:
            return copy
        with self._alone(local):
            if (copy := self._copy(local)) is not None:
                return copy
            found = self.store.get(key)
            if found is None or memoryview(found).nbytes < self.min_bytes:
                return found
            return self._kept(local, found)

    def _copy(self, local: str) -> Buffer | None:
        """What the cache has; a cache that fails has nothing."""
        with suppress(StoreError):
            return self.cache.get(local)
        return None

    def _kept(self, local: str, found: Buffer) -> Buffer:
        """``found`` as a copy that all map; itself where the cache is full."""
        with suppress(StoreError):
            end = self._ends.get(local)
            life_s = self.lease_s if end is None else min(self.lease_s, end - time.monotonic())
            self.cache.put([found], key=local, ttl_s=max(0.001, life_s))
            return self.cache.get(local) or found
        return found

    @contextmanager
    def _alone(self, local: str) -> Iterator[None]:
        """Only one thread of one process of this node at a time, per key (and rarely one more)."""
        folder = Path(tempfile.gettempdir()) / f"fedproxy-{os.getuid()}-locks"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{zlib.crc32(local.encode()) % LOCKS:03x}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def exists(self, key: str) -> bool:
        """Whether the store has it."""
        self._check_open()
        return self.store.exists(key)

    def evict(self, key: str) -> None:
        """Forget it here and in the store."""
        self._check_open()
        self._drop(key)
        self.store.evict(key)

    def _drop(self, key: str) -> None:
        with suppress(StoreError):
            self.cache.evict(self._local(key))

    def touch(self, key: str, ttl_s: float | None) -> bool:
        """Let it live ``ttl_s`` from now in the store; the copy here keeps its own lease. False where the store cannot."""
        self._check_open()
        return isinstance(self.store, SupportsTouch) and self.store.touch(key, ttl_s)

    def reachable(self) -> bool:
        """Whether this process can use the store behind the cache."""
        return self.store.reachable() if isinstance(self.store, SupportsReachable) else True

    def put_batch(
        self, items: Sequence[Parts], *, keys: Sequence[str] | None = None, ttl_s: float | None = None
    ) -> list[str]:
        """``put`` for each."""
        self._check_open()
        if keys is None and isinstance(self.store, SupportsBatch):
            made = self.store.put_batch(items, ttl_s=ttl_s)
            for key in made if ttl_s is not None and ttl_s < self.lease_s else ():
                self._remember_end(key, ttl_s or 0.0)
            return made
        wanted = [None] * len(items) if keys is None else keys
        return [self.put(parts, key=key, ttl_s=ttl_s) for parts, key in zip(items, wanted, strict=True)]

    def get_batch(self, keys: Sequence[str]) -> list[Buffer | None]:
        """``get`` for each; what has no copy comes from the store in one go, and large ones are kept."""
        self._check_open()
        if not isinstance(self.store, SupportsBatch):
            return [self.get(key) for key in keys]
        values = [self._copy(self._local(key)) for key in keys]
        missing = [index for index, value in enumerate(values) if value is None]
        fetched = self.store.get_batch([keys[index] for index in missing])
        for index, value in zip(missing, fetched, strict=True):
            large = value is not None and memoryview(value).nbytes >= self.min_bytes
            values[index] = self._kept(self._local(keys[index]), value) if value is not None and large else value
        return values

    def exists_batch(self, keys: Sequence[str]) -> list[bool]:
        """``exists`` for each."""
        self._check_open()
        if isinstance(self.store, SupportsBatch):
            return self.store.exists_batch(keys)
        return [self.store.exists(key) for key in keys]

    def evict_batch(self, keys: Sequence[str]) -> None:
        """``evict`` for each."""
        self._check_open()
        for key in keys:
            self._drop(key)
        if isinstance(self.store, SupportsBatch):
            self.store.evict_batch(keys)
        else:
            for key in keys:
                self.store.evict(key)

    def entries(self) -> Iterator[Entry]:
        """What the store holds, where it can tell."""
        self._check_open()
        return self.store.entries() if isinstance(self.store, SupportsList) else iter(())

    def gc(self) -> int:
        """Collect in both."""
        self._check_open()
        return sum(side.gc() for side in (self.store, self.cache) if isinstance(side, SupportsList))

    def close(self, *, clear: bool = False) -> None:
        """Close both. ``clear`` also removes the store's objects; other processes' copies go with their lease."""
        if self._closed:
            return
        self._closed = True
        self.store.close(clear=clear)
        self.cache.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError("this store was closed", store=self.url)


def _differing(min_bytes: int, lease_s: float) -> str:
    least = f"&min_bytes={min_bytes}" if min_bytes != MIN_BYTES else ""
    return least + (f"&lease_s={lease_s:g}" if lease_s != LEASE_S else "")
