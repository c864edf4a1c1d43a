"""Objects over a connector.

Strategy: nothing here holds a lock while bytes move. Several threads that want one key share one read (single flight) but
never one mutable object.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from attrs import evolve

from fedproxy.config.home import default_site
from fedproxy.errors import DataLostError, FedproxyError, FrameError, StoreClosedError
from fedproxy.proxy import Proxy
from fedproxy.proxy.flight import SingleFlight
from fedproxy.proxy.proxy import fill, full_name, type_name
from fedproxy.serialize import Frame, FrameOptions, deserialize, serialize
from fedproxy.serialize.compact import deserialize_many, serialize_many
from fedproxy.serialize.compress import Link, worth_compressing
from fedproxy.serialize.sign import stored_digest
from fedproxy.store.cache import FrameCache
from fedproxy.store.connectors.base import Buffer, Connector, Parts, SupportsBatch, SupportsPacking, SupportsPlacing
from fedproxy.store.credentials import site_key
from fedproxy.store.failures import StoredFailure
from fedproxy.store.proxies import proxy_from_ref, short_kind
from fedproxy.store.ref import Ref, RefBatch
from fedproxy.store.registry import open_store, unregister_store
from fedproxy.store.traffic import count
from fedproxy.store.urls import StoreOptions, StoreUrl

if TYPE_CHECKING:
    from fedproxy.store.aio import AsyncStore
    from fedproxy.store.futures import StoreFuture
    from fedproxy.store.lifetimes import Lifetime
    from fedproxy.store.ownership import OwnedProxy

T = TypeVar("T")
_RAISE: Any = object()
_LINK_SAMPLE_BYTES = 256 * 1024


class Store:
    """Python objects by key, over any connector. Safe to use from many threads.

    Prefer ``Store.from_url``: it shares one store per configuration and process.
    """

    def __init__(self, connector: Connector, *, options: StoreOptions | None = None, site: str | None = None) -> None:
        self.connector = connector
        self.options = options or StoreOptions()
        self.url = StoreUrl.parse(connector.url).with_store_options(self.options).public()
        self.site = default_site() if site is None else site
        self._frames = FrameOptions(
            body_digests=not connector.in_memory, sign_key=site_key() if self.options.signed else None
        )
        self._compress = self.options.compress or _default_compress(connector)
        self._writing = self._frames if self._compress == "none" else evolve(self._frames, compress=Link())
        self._cache = FrameCache(0 if connector.in_memory else self.options.cache_bytes)
        self._flights = SingleFlight()
        self._bytes_per_s = 0.0
        self._closed = False
        self._placer = connector if isinstance(connector, SupportsPlacing) else None

    # -- making and closing

    @classmethod
    def from_url(cls, url: str) -> Store:
        """The store of this configuration; the same object for the same URL.

        Raises:
            ConfigError: not a store URL.
            StoreUnavailableError: it cannot be reached.
            MissingExtraError: its client library is not installed.
        """
        return open_store(url)

    def config(self) -> dict[str, Any]:
        """All that another process needs to make this store, except secrets."""
        return {"url": self.url}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Store:
        """The store that ``config`` describes."""
        return open_store(config["url"])

    def close(self, *, clear: bool = False) -> None:
        """Let go of connections; idempotent. ``clear`` also removes the objects."""
        if not self._closed:
            self._closed = True
            unregister_store(self)
            self._cache.clear()
        self.connector.close(clear=clear)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (self.url,)

    # -- objects

    def put(
        self, obj: Any, *, ttl: float | None = None, codec: str | None = None, lifetime: Lifetime | None = None,
        tags: Sequence[str] = (),
    ) -> Ref:
        """Store ``obj``.

        Args:
            ttl: seconds to live.
            lifetime: evict it when this lifetime ends.
            tags: for the rules of a ``multi://`` store, which sees its type and size too; others take no notice.

        Raises:
            SerializationError: it cannot be serialized.
            StoreFullError: no room; nothing was stored.
        """
        frame = serialize(obj, codec=codec, options=self._writing)
        if self._placer is None:
            return self.put_frame(frame, ttl=ttl, lifetime=lifetime)
        with self._placer.placing(type_name=full_name(type(obj)), tags=tags):
            return self.put_frame(frame, ttl=ttl, lifetime=lifetime)

    def put_frame(
        self, frame: Frame, *, ttl: float | None = None, key: str | None = None, lifetime: Lifetime | None = None
    ) -> Ref:
        """Store what ``serialize`` made."""
        self._check_open()
        if frame.nbytes < _LINK_SAMPLE_BYTES:
            key = self.connector.put(frame.parts, key=key, ttl_s=ttl or self.options.ttl_s)
        else:
            start = time.perf_counter()
            key = self.connector.put(frame.parts, key=key, ttl_s=ttl or self.options.ttl_s)
            self._measure(frame.nbytes, time.perf_counter() - start)
        count(written=frame.nbytes)
        ref = Ref(self.url, key, frame.nbytes, frame.digest, self.site)
        if lifetime is not None:
            lifetime.add(self, ref)
        return ref

    def get(self, ref: Ref | str, *, default: Any = _RAISE) -> Any:
        """The object.

        Args:
            default: what to give where there is none; without it that is an error.

        Raises:
            DataLostError: it was evicted, expired or never there.
            FrameError: what is there is corrupted or cut short.
        """
        key = ref.key if type(ref) is Ref else cast("str", ref)
        frame = self._read(key)
        if frame is None:
            if default is _RAISE:
                raise self._lost(key)
            return default
        return self._load(frame, key, ref.digest if type(ref) is Ref else b"")

    def exists(self, ref: Ref | str) -> bool:
        """Whether the object is in the store now."""
        self._check_open()
        return self.connector.exists(_key(ref))

    def evict(self, ref: Ref | str | Proxy[Any]) -> None:
        """Remove the object; no error where there is none."""
        self._check_open()
        key = _key(ref)
        self._cache.discard(key)
        self.connector.evict(key)

    def is_cached(self, ref: Ref | str) -> bool:
        """Whether ``get`` would not have to ask the connector."""
        return _key(ref) in self._cache

    def prefetch(self, refs: Iterable[Ref | str]) -> None:
        """Fill the cache; what is missing or too large for it is passed over."""
        keys = [key for key in map(_key, refs) if key not in self._cache]
        if self._cache.max_bytes == 0 or not keys:
            return
        for key, frame in zip(keys, self._read_batch(keys), strict=True):
            if frame is not None:
                self._cache.offer(key, _flat(frame))

    # -- batches

    def put_batch(self, objects: Iterable[Any], *, ttl: float | None = None, tags: Sequence[str] = ()) -> RefBatch:
        """Store many at the price of few round trips."""
        self._check_open()
        if self._placer is not None:  # each has a place of its own
            return RefBatch.of(self.url, self.site, [self.put(obj, ttl=ttl, tags=tags) for obj in objects])
        frames = serialize_many(objects, self._writing)
        keys = self._put_all(frames, ttl or self.options.ttl_s)
        digests = [frame.digest if isinstance(frame, Frame) else frame[4:12] for frame in frames]
        return RefBatch(self.url, self.site, keys, [len(frame) for frame in frames], digests)

    def get_batch(
        self, refs: Sequence[Ref | str] | RefBatch, *, errors: Literal["raise", "return"] = "raise"
    ) -> list[Any]:
        """The objects, in order.

        Args:
            errors: ``return`` puts the errors in the places of the objects that could not be had.

        Raises:
            DataLostError: one of them is not there.
        """
        keys = refs.keys if isinstance(refs, RefBatch) else [_key(ref) for ref in refs]
        digests = refs.digests if isinstance(refs, RefBatch) else [_digest(ref) for ref in refs]
        frames = self._read_batch(keys)

        def load(index: int) -> Any:
            frame = frames[index]
            try:
                if frame is None:
                    raise self._lost(keys[index])
                return self._load(frame, keys[index], digests[index])
            except FedproxyError as exc:
                if errors == "raise":
                    raise
                return exc

        return deserialize_many(frames, digests, self._frames, load)

    def exists_batch(self, refs: Sequence[Ref | str]) -> list[bool]:
        """``exists`` for each."""
        self._check_open()
        keys = [_key(ref) for ref in refs]
        if isinstance(self.connector, SupportsBatch):
            return self.connector.exists_batch(keys)
        return [self.connector.exists(key) for key in keys]

    def evict_batch(self, refs: Sequence[Ref | str | Proxy[Any]]) -> None:
        """``evict`` for each."""
        self._check_open()
        keys = [_key(ref) for ref in refs]
        for key in keys:
            self._cache.discard(key)
        if isinstance(self.connector, SupportsBatch):
            self.connector.evict_batch(keys)
        else:
            for key in keys:
                self.connector.evict(key)

    # -- proxies

    def proxy(
        self, obj: T, *, ttl: float | None = None, evict: bool = False,
        lifetime: Lifetime | None = None, populate_target: bool = False, tags: Sequence[str] = (),
    ) -> Proxy[T]:
        """Store ``obj`` and give a lazy proxy of it.

        Args:
            ttl: seconds to live.
            evict: remove the object from the store when the proxy was resolved once.
            lifetime: evict it when this lifetime ends.
            populate_target: the proxy given back holds ``obj`` already.
            tags: as for ``put``.
        """
        ref = self.put(obj, ttl=ttl, lifetime=lifetime, tags=tags)
        proxy = proxy_from_ref(ref, kind=short_kind(type_name(type(obj))), evict=evict)
        if populate_target:
            fill(proxy, obj)
        return proxy

    def proxy_batch(self, objects: Sequence[T], *, ttl: float | None = None, evict: bool = False) -> list[Proxy[T]]:
        """A proxy for each object, at the price of few round trips."""
        refs = self.put_batch(objects, ttl=ttl)
        kinds = [short_kind(type_name(type(obj))) for obj in objects]
        return [proxy_from_ref(ref, kind=kind, evict=evict) for ref, kind in zip(refs, kinds, strict=True)]

    def proxy_from_key(self, key: str | Ref, *, evict: bool = False) -> Proxy[Any]:
        """A proxy of an object that is already stored."""
        return proxy_from_ref(key if isinstance(key, Ref) else Ref(self.url, key, 0, b"", self.site), evict=evict)

    def locked_proxy(self, obj: T, **kwargs: Any) -> Proxy[T]:
        """``proxy``: here no proxy is resolved by being looked at. Kept for users of ProxyStore."""
        return self.proxy(obj, **kwargs)

    def owned_proxy(self, obj: T, *, ttl: float | None = None) -> OwnedProxy[T]:
        """A proxy that owns its object: the object is evicted when the proxy goes."""
        from fedproxy.store.ownership import own

        return own(self, self.put(obj, ttl=ttl), type_name(type(obj)))

    def future(self, *, ttl: float | None = None) -> StoreFuture[Any]:
        """A place for an object that will be stored later, by any process."""
        from fedproxy.store.futures import new_future

        return new_future(self, ttl)

    @property
    def aio(self) -> AsyncStore:
        """The same store for asyncio."""
        from fedproxy.store.aio import AsyncStore

        return AsyncStore(self)

    # -- inside

    def _read(self, key: str) -> Buffer | None:
        self._check_open()
        if self._cache.max_bytes == 0:
            return self._fetch(key)
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        frame, shared = self._flights.run(key, lambda: self._read_through(key))
        return frame.toreadonly() if shared and frame is not None else cast("Buffer | None", frame)

    def _fetch(self, key: str) -> Buffer | None:
        frame = self.connector.get(key)
        if frame is not None:
            count(read=len(frame))
        return frame

    def _read_through(self, key: str) -> memoryview | None:
        frame = self._fetch(key)
        return None if frame is None else self._cache.offer(key, _flat(frame))

    def _put_all(self, frames: list[Frame | bytes], ttl_s: float | None) -> list[str]:
        connector = self.connector
        count(written=sum(map(len, frames)))
        if isinstance(connector, SupportsPacking) and set(map(type, frames)) == {bytes}:
            return connector.put_small(cast("list[bytes]", frames), ttl_s=ttl_s)
        items: list[Parts] = [frame.parts if isinstance(frame, Frame) else [frame] for frame in frames]
        return connector.put_batch(items, ttl_s=ttl_s) if isinstance(connector, SupportsBatch) else [connector.put(parts, ttl_s=ttl_s) for parts in items]

    def _read_batch(self, keys: Sequence[str]) -> Sequence[Buffer | None]:
        self._check_open()
        if isinstance(self.connector, SupportsBatch):
            frames = self.connector.get_batch(keys)
            count(read=sum(len(frame) for frame in frames if frame is not None))
            return frames
        return [self._read(key) for key in keys]

    def _load(self, frame: Buffer, key: str, digest: bytes) -> Any:
        try:
            if digest and stored_digest(frame) != digest:
                raise FrameError("the object under this key is another one, or corrupted", hint="put it again")
            return self._checked(deserialize(frame, verify=not self.connector.in_memory, options=self._frames))
        except FrameError as exc:
            message = f"{exc.message} [key {key!r}, store {self.url!r}, site {self.site!r}]"
            raise FrameError(message, hint=exc.hint) from exc

    @staticmethod
    def _checked(value: Any) -> Any:
        if type(value) is StoredFailure:
            raise value.rebuild()
        return value

    def _measure(self, nbytes: int, seconds: float) -> None:
        """Learn how fast the link is. One that is faster than the codec need not even be sampled for."""
        speed = nbytes / max(seconds, 1e-9)
        self._bytes_per_s = speed if self._bytes_per_s == 0 else 0.7 * self._bytes_per_s + 0.3 * speed
        if self._compress == "auto":
            link = Link(self._bytes_per_s)
            self._writing = evolve(self._frames, compress=link if worth_compressing(0.0, link) else None)

    def _lost(self, key: str) -> DataLostError:
        return DataLostError(
            "the object is not there", key=key, store=self.url, site=self.site,
            hint="it was evicted, it expired, or its store was cleared; put it again",
        )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError("the store was closed", store=self.url, hint="Store.from_url makes a new one")


def _key(ref: Ref | str | Proxy[Any]) -> str:
    if type(ref) is str:
        return ref
    if type(ref) is Ref:
        return ref.key
    if isinstance(ref, Proxy):
        return cast("str", ref.__fp_factory__.ref.key)  # type: ignore[attr-defined]
    return cast("str", ref)


def _digest(ref: Ref | str) -> bytes:
    return ref.digest if type(ref) is Ref else b""


def _flat(frame: Buffer) -> memoryview:
    view = memoryview(frame)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _default_compress(connector: Connector) -> str:
    return "none" if connector.in_memory or connector.url.startswith("file:") else "auto"
