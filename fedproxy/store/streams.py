"""Streams of objects: small events in order, the objects themselves in a store, read when and where they are looked at.

Strategy: a producer puts each object and appends an event with its ref to the topic's log; a consumer gets proxies. Delivery is
at least once in a group (until ``ack``), and exactly in order for a reader without one, which can go back and replay.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from attrs import field, frozen

from fedproxy.errors import ConfigError, StoreClosedError
from fedproxy.proxy import Proxy
from fedproxy.store.connectors.registry import missing_extra
from fedproxy.store.proxies import fetch, proxy_from_ref
from fedproxy.store.ref import Ref
from fedproxy.store.registry import open_store
from fedproxy.store.store import Store
from fedproxy.store.stream_log import START, Member, StreamLog, local_log

SLICE_S = 1.0
"""A consumer that waits looks this often whether its topic was closed meanwhile."""


@frozen
class StreamEvent:
    """What stands in the log: the ref of an object, or the end of what ``producer`` has to say."""

    producer: str
    ref: bytes = b""
    metadata: dict[str, Any] = field(factory=dict)
    evict: bool = False
    end: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(StreamEvent)


def open_log(url: str) -> StreamLog:
    """The log that a store URL can hold: ``redis://`` and its like, or ``memory://NAME`` for this process.

    Raises:
        ConfigError: a store that cannot hold streams.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        return local_log(rest.partition("?")[0])
    if not scheme.startswith("redis"):
        raise ConfigError(f"{scheme}:// stores hold no streams", hint="redis://, rediscluster:// or memory://")
    try:
        from fedproxy.store.connectors.redis_config import parse_url
        from fedproxy.store.stream_redis import RedisLog
    except ModuleNotFoundError as exc:
        raise missing_extra(exc.name or "redis", scheme) from exc
    return RedisLog(parse_url(url))


class StreamProducer:
    """Sends objects to topics. Any number of producers may send to one topic.

    Args:
        log: where the events go: a URL or a log.
        store: where the objects go; by default the store of the same URL.
        ttl: seconds that topics and objects live after the last send; None: until they are removed.
    """

    def __init__(self, log: StreamLog | str, store: Store | str | None = None, *, ttl: float | None = None) -> None:
        if store is None and not isinstance(log, str):
            raise ConfigError("a producer needs a store", hint="StreamProducer(log, store)")
        self._log = open_log(log) if isinstance(log, str) else log
        self._store = store if isinstance(store, Store) else open_store(store or str(log))
        self._ttl = ttl
        self.name = uuid.uuid4().hex[:12]
        self._closed = False

    def send(self, topic: str, obj: Any, *, evict: bool = False, metadata: dict[str, Any] | None = None) -> str:
        """Append ``obj`` to ``topic``.

        Args:
            evict: remove the object when a consumer has acknowledged it: for topics with one group.
            metadata: JSON-like, readable without the object.

        Returns:
            The event's id.
        """
        return self.send_batch(topic, [obj], evict=evict, metadata=[metadata or {}])[0]

    def send_batch(
        self, topic: str, objects: Sequence[Any], *, evict: bool = False,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> list[str]:
        """``send`` for each, in order, for the price of few round trips."""
        self._check_open()
        refs = self._store.put_batch(objects, ttl=self._ttl)
        notes = metadata or [{}] * len(objects)
        events = [
            _encode(StreamEvent(self.name, ref.to_bytes(), note, evict)) for ref, note in zip(refs, notes, strict=True)
        ]
        return self._log.append(topic, events, ttl_s=self._ttl)

    def close_topics(self, *topics: str) -> None:
        """Say that this producer sends no more to ``topics``: consumers stop when all producers have."""
        self._check_open()
        for topic in topics:
            self._log.append(topic, [_encode(StreamEvent(self.name, end=True))], ttl_s=self._ttl)

    def close(self, topics: Sequence[str] = ()) -> None:
        """Close ``topics``, then this producer; idempotent. The store stays open."""
        if not self._closed:
            self.close_topics(*topics)
            self._closed = True
            self._log.close()

    def __enter__(self) -> StreamProducer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError("this producer was closed")


@frozen
class StreamItem:
    """One object of a stream."""

    id: str
    ref: Ref
    metadata: dict[str, Any]
    evict: bool = False

    @property
    def proxy(self) -> Proxy[Any]:
        """The object, lazily."""
        return proxy_from_ref(self.ref)

    def object(self) -> Any:
        """The object, now."""
        return fetch(self.ref)


class StreamConsumer:
    """Iterates over a topic: proxies, in order.

    Args:
        log: where the events are: a URL or a log.
        group: consumers of one group share the topic: each object goes to one of them, and to another one if it was not acknowledged
            (``claim_after`` seconds). Without a group a consumer sees everything.
        start: ``"new"``, ``"all"`` or the id of the event to begin after. A group that is there goes on where it is.
        producers: how many producers must have closed the topic before the iteration ends.
        ack: ``"auto"`` acknowledges an object when the next one is asked for; ``"manual"`` leaves it to ``ack``.
    """

    def __init__(
        self,
        log: StreamLog | str,
        topic: str,
        *,
        group: str | None = None,
        start: str = "all",
        producers: int = 1,
        ack: Literal["auto", "manual"] = "auto",
        claim_after: float = 30.0,
        batch: int = 64,
    ) -> None:
        self.topic = topic
        self._log = open_log(log) if isinstance(log, str) else log
        self._producers, self._auto, self._batch = producers, ack == "auto", batch
        self._after = {"all": START, "new": ""}.get(start, start) or self._log.last_id(topic)
        self._member = Member(group, f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}", claim_after) if group else None
        if self._member is not None:
            self._log.join(topic, self._member, after=self._after)
        self._ended: set[str] = set()
        self._ready: list[StreamItem] = []
        self._unacked: list[StreamItem] = []
        self._closed = False
