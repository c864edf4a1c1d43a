"""Writing what a map made: the first store that takes it has it."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from fedproxy.errors import StoreError, StoreFullError, StoreUnavailableError
from fedproxy.patterns.shuffle.manifest import BLOCK, Source, object_key, offsets_of
from fedproxy.store import Store
from fedproxy.store.connectors.base import Buffer

JOINED_BYTES = 2 * 1024 * 1024
"""Blocks up to this size are put together first: to copy them costs less than to write hundreds of parts."""


@frozen
class Target:
    """Where blocks go, and how."""

    stores: Sequence[str]
    """Store URLs; a store that is full or gone hands over to the next: Redis to files."""
    site: str
    ttl_s: float
    layout: str = BLOCK


@frozen
class Place:
    """Which attempt of what is written."""

    key: str
    index: int
    attempt: int
    stage: str = "m"


def write(segments: Sequence[Sequence[Buffer]], place: Place, target: Target) -> Source:
    """Write the segments (each as buffers end to end) and say where they are.

    Raises:
        StoreError: no store took them: the last one's reason.
    """
    lengths = [sum(map(len, segment)) for segment in segments]
    last: StoreError = StoreError("a shuffle needs a store", hint="give the endpoint one, or name one with store=")
    for url in target.stores:
        try:
            _put(segments, lengths, place.key, url, target)
        except (StoreFullError, StoreUnavailableError) as exc:
            last = exc
            continue
        return Source(place.index, place.attempt, url, target.site, offsets_of(lengths), target.layout, place.stage)
    raise last


def _put(segments: Sequence[Sequence[Buffer]], lengths: Sequence[int], key: str, url: str, target: Target) -> None:
    connector = Store.from_url(url).connector
    if target.layout == BLOCK:
        parts = [part for segment in segments for part in segment] or [b""]
        connector.put([b"".join(parts)] if sum(lengths) <= JOINED_BYTES else parts, key=key, ttl_s=target.ttl_s)
        return
    for reducer, (segment, length) in enumerate(zip(segments, lengths, strict=True)):
        if length:
            connector.put(segment, key=object_key(key, reducer), ttl_s=target.ttl_s)
