"""Streams of objects: small events in order, the objects themselves in a store, read when and where they are looked at.

Strategy: a producer puts each object and appends an event with its ref to the topic's log; a consumer gets proxies.
Delivery is at least once in a group (until ``ack``), and exactly in order for a reader without one, which can go back
and replay.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
from attrs import field, frozen

from fedproxy.errors import ConfigError, FrameError, StoreClosedError
from fedproxy.proxy import Proxy
from fedproxy.store.connectors.base import check_key
from fedproxy.store.connectors.registry import missing_extra
from fedproxy.store.proxies import fetch, proxy_from_ref
from fedproxy.store.ref import Ref
from fedproxy.store.registry import open_store
from fedproxy.store.store import Store
from fedproxy.store.stream_log import START, Event, Member, StreamLog, local_log

READ_AHEAD = 64
MANY = 10_000
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
        check_key(topic)
        refs = self._store.put_batch(objects, ttl=self._ttl)
        notes = metadata or [{}] * len(objects)
        events = [
            _encode(StreamEvent(self.name, ref.to_bytes(), note, evict)) for ref, note in zip(refs, notes, strict=True)
        ]
        return self._log.append(topic, events, ttl_s=self._ttl)

    def close_topics(self, *topics: str) -> None:
        """Say that this producer sends no more to ``topics``: consumers stop when all producers have."""
        self._check_open()
        end = [_encode(StreamEvent(self.name, end=True))]
        for topic in topics:
            self._log.append(_ends(topic), end, ttl_s=self._ttl)
            self._log.append(topic, end, ttl_s=self._ttl)

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
        group: consumers of one group share the topic: each object goes to one of them, and to another one if it is not
            acknowledged within ``claim_after`` seconds. Without a group a consumer sees everything.
        start: ``"new"``, ``"all"`` or the id of the event to begin after. A group that is there goes on where it is.
        producers: how many producers must have closed the topic before the iteration ends. A group also waits until
            nothing is held by its other members, in case one of them dies.
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
        batch: int | None = None,
    ) -> None:
        self.topic = check_key(topic)
        self._log = open_log(log) if isinstance(log, str) else log
        self._producers, self._auto = producers, ack == "auto"
        self._batch = batch or (1 if group else READ_AHEAD)
        self._after = {"all": START, "new": ""}.get(start, start) or self._log.last_id(topic)
        self._member = Member(group, _own_name(), claim_after) if group else None
        if self._member is not None:
            self._log.join(topic, self._member, after=self._after)
        self._ended: set[str] = set()
        self._ready: deque[Event] = deque()
        self._last: StreamItem | None = None
        self._closed = False

    # iterating

    def __iter__(self) -> Iterator[Proxy[Any]]:
        for item in self.items():
            yield item.proxy

    def __next__(self) -> Proxy[Any]:
        return self.next()

    def items(self) -> Iterator[StreamItem]:
        """Items, with id and metadata, until the topic ends."""
        while (item := self.next_item()) is not None:
            yield item

    def iter_with_metadata(self) -> Iterator[tuple[dict[str, Any], Proxy[Any]]]:
        """Metadata and proxies."""
        for item in self.items():
            yield item.metadata, item.proxy

    def iter_objects(self) -> Iterator[Any]:
        """The objects themselves."""
        for item in self.items():
            yield item.object()

    def iter_objects_with_metadata(self) -> Iterator[tuple[dict[str, Any], Any]]:
        """Metadata and objects."""
        for item in self.items():
            yield item.metadata, item.object()

    def next(self, timeout: float | None = None) -> Proxy[Any]:
        """The next object as a proxy.

        Raises:
            StopIteration: the topic has ended.
            TimeoutError: nothing came in time.
        """
        item = self.next_item(timeout)
        if item is None:
            raise StopIteration
        return item.proxy

    def next_object(self, timeout: float | None = None) -> Any:
        """The next object itself. Raises as ``next``."""
        item = self.next_item(timeout)
        if item is None:
            raise StopIteration
        return item.object()

    def next_item(self, timeout: float | None = None) -> StreamItem | None:
        """The next item, or None at the end of the topic.

        Raises:
            TimeoutError: nothing came in time.
            StoreClosedError: after ``close``.
        """
        if self._auto and self._last is not None:
            self.ack(self._last)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            while self._ready:
                if (item := self._item(self._ready.popleft())) is not None:
                    self._last = item
                    return item
            if self._at_end():
                return None
            left = SLICE_S if deadline is None else min(SLICE_S, deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"nothing came on {self.topic!r} within {timeout} s")
            self._ready.extend(self._read(left))

    def _read(self, timeout_s: float) -> list[Event]:
        if self._closed:
            raise StoreClosedError("this consumer was closed")
        if self._member is not None:
            return self._log.read_shared(self.topic, self._member, count=self._batch, timeout_s=timeout_s)
        found = self._log.read(self.topic, self._after, count=self._batch, timeout_s=timeout_s)
        self._after = found[-1].id if found else self._after
        return found

    def _item(self, event: Event) -> StreamItem | None:
        """What ``event`` brings; None for an end."""
        said = _decoded(event)
        if not said.end:
            return StreamItem(event.id, Ref.from_bytes(said.ref), said.metadata, said.evict)
        self._ended.add(said.producer)
        if self._member is not None:
            self._log.ack(self.topic, self._member, [event.id])
        return None

    def _at_end(self) -> bool:
        if self._member is None:
            return len(self._ended) >= self._producers
        ends = self._log.read(_ends(self.topic), START, count=MANY, timeout_s=0.0)
        done = {_decoded(event).producer for event in ends}
        return len(done) >= self._producers and self._log.settled(self.topic, self._member)

    # acknowledging, and going back

    def ack(self, *items: StreamItem) -> None:
        """These are done: nobody of the group gets them again; objects that were sent with ``evict`` are removed."""
        if self._member is not None:
            self._log.ack(self.topic, self._member, [item.id for item in items])
        for item in items:
            if item.evict:
                open_store(item.ref.store).evict(item.ref)
            if item is self._last:
                self._last = None

    def replay(self, after: str = START) -> None:
        """Begin again after the event ``after``; a whole group does."""
        self._ready.clear()
        self._ended.clear()
        self._last = None
        self._after = after
        if self._member is not None:
            self._log.rewind(self.topic, self._member, after)

    def close(self) -> None:
        """Let go; idempotent. In a group, what was not acknowledged goes to another member."""
        if not self._closed:
            self._closed = True
            self._log.close()

    def __enter__(self) -> StreamConsumer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _ends(topic: str) -> str:
    """The topic that holds the ends of ``topic``, for the members of a group that do not get them."""
    return f"{topic}:ends"


def _own_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _decoded(event: Event) -> StreamEvent:
    try:
        return _decoder.decode(event.data)
    except msgspec.MsgspecError as exc:
        raise FrameError(f"event {event.id} was not written by a StreamProducer: {exc}") from exc
