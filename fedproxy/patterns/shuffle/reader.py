"""Fetching segments: ranges of many blocks in few round trips, a bounded number of bytes ahead.

Strategy: reducer ``r`` of ``R`` begins at map ``M * r / R``, so that reducers that start together do not ask the same shard. Spans are asked
for in batches of a few megabytes; a thread fetches the next batch while this one is merged, where there is more than one. What cannot be had
is found out span by span and reported at once, so that only those maps are run again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from queue import Full, Queue

from attrs import define, field, frozen

from fedproxy.errors import SegmentsLostError, StoreError
from fedproxy.patterns.shuffle.chunks import BrokenChunkError, Chunk, decode_chunks, whole_chunks_bytes
from fedproxy.patterns.shuffle.manifest import OBJECTS, Manifest, Source
from fedproxy.store import Store
from fedproxy.store.connectors.base import Buffer, Connector, Span, SupportsRange, SupportsRanges

BATCH_BYTES = 4 * 1024 * 1024
LEAST_PART_BYTES = 64 * 1024
"""A segment is read in parts only where it is larger than a batch, and these are not smaller than this."""
_AHEAD = 1
_PROBE_S = 10.0
_WHOLE = 1 << 62


@define
class Account:
    """What reading took."""

    seconds: float = 0.0
    nbytes: int = 0
    from_site: dict[str, int] = field(factory=dict)
    """Stored bytes by the site whose stores they came from."""


@frozen
class Wanted:
    """Segments to read: of reducers ``first`` to ``last`` (exclusive)."""

    manifest: Manifest
    first: int
    last: int
    reduces: int
    batch_bytes: int = BATCH_BYTES

    @property
    def part_bytes(self) -> int:
        """What is read of a segment at once."""
        return max(self.batch_bytes, LEAST_PART_BYTES)


_Batch = list[tuple[Source, Span]]


def segments(wanted: Wanted, account: Account) -> Iterator[tuple[Source, list[Chunk]]]:
    """The chunks of each segment that is not empty, source by source; of a large one in several goes.

    Raises:
        SegmentsLostError: some cannot be had; names their sources.
    """
    rest, most = b"", wanted.part_bytes
    for batch, parts in _ahead(batches(wanted), account):
        for (source, (_, start, length)), part in zip(batch, parts, strict=True):
            data: Buffer = b"".join((rest, part)) if rest else part
            rest = b""
            if length >= most and not _is_last(source, wanted, start + length):
                whole = whole_chunks_bytes(data)
                data, rest = memoryview(data)[:whole], bytes(memoryview(data)[whole:])
            try:
                yield source, list(decode_chunks(data))
            except BrokenChunkError as exc:
                raise lost([source], str(exc)) from exc


def _is_last(source: Source, wanted: Wanted, end: int) -> bool:
    """Whether a part that ends at ``end`` of the block is the last one of what is wanted of it."""
    return source.layout == OBJECTS or end == source.offset(wanted.last)


def whole_blocks(manifest: Manifest, reduces: int, account: Account) -> Iterator[tuple[Source, Buffer]]:
    """The bytes of each source's block.

    Raises:
        SegmentsLostError: as `segments`.
    """
    for batch, parts in _ahead(batches(Wanted(manifest, 0, reduces, reduces, _WHOLE)), account):
        yield from zip([source for source, _ in batch], parts, strict=True)


def batches(wanted: Wanted) -> list[_Batch]:
    """What to ask for, in which order: of one store at a time, at most ``batch_bytes`` at a time."""
    sources = wanted.manifest.sources
    start = len(sources) * wanted.first // max(1, wanted.reduces)
    most = wanted.part_bytes
    by_store: dict[str, _Batch] = {}
    for source in (*sources[start:], *sources[:start]):
        group = by_store.setdefault(source.store, [])
        for span in source.spans(wanted.manifest.shuffle, wanted.first, wanted.last):
            if span[2] <= most or source.layout == OBJECTS:
                group.append((source, span))
            else:
                group += [(source, part) for part in _in_parts(span, most)]
    found: list[_Batch] = []
    for group in by_store.values():
        room = 0
        for item in group:
            length = item[1][2]
            if length > room:
                found.append([])
                room = wanted.batch_bytes
            found[-1].append(item)
            room -= length
    return found


def _in_parts(span: Span, most_bytes: int) -> Iterator[Span]:
    """A large span as several."""
    key, start, length = span
    for at in range(0, length, most_bytes):
        yield key, start + at, min(most_bytes, length - at)


def _ahead(wanted: list[_Batch], account: Account) -> Iterator[tuple[_Batch, list[Buffer]]]:
    """Each batch with its bytes; the next one is fetched meanwhile."""
    if len(wanted) < 2:
        for batch in wanted:
            yield batch, _fetch(batch, account)
        return
    queue: Queue[tuple[_Batch, list[Buffer]] | BaseException] = Queue(_AHEAD)
    stop = threading.Event()
    thread = threading.Thread(target=_fetch_all, args=(wanted, account, queue, stop), name="fedproxy-fetch", daemon=True)
    thread.start()
    try:
        for _ in wanted:
            got = queue.get()
            if isinstance(got, BaseException):
                raise got
            yield got
            del got
    finally:
        stop.set()
        thread.join()


def _fetch_all(wanted: list[_Batch], account: Account, queue: Queue[tuple[_Batch, list[Buffer]] | BaseException], stop: threading.Event) -> None:
    for batch in wanted:
        try:
            got: tuple[_Batch, list[Buffer]] | BaseException = (batch, _fetch(batch, account))
        except BaseException as exc:  # noqa: BLE001 - raised again in the reader's thread
            got = exc
        while not stop.is_set():
            try:
                queue.put(got, timeout=0.1)
                break
            except Full:
                continue
        if stop.is_set() or isinstance(got, BaseException):
            return
        del got


def _fetch(batch: _Batch, account: Account) -> list[Buffer]:
    """The bytes of each span.

    Raises:
        SegmentsLostError: some are gone, or their store is.
    """
    started = time.perf_counter()
    try:
        parts = get_spans(Store.from_url(batch[0][0].store).connector, batch)
    except StoreError as exc:
        raise _who_is_lost(batch, exc) from exc
    finally:
        account.seconds += time.perf_counter() - started
    gone = [source for (source, span), part in zip(batch, parts, strict=True) if part is None or len(part) != span[2]]
    if gone:
        raise lost(gone, "no longer in their store")
    for source, (_, _, length) in batch:
        account.nbytes += length
        account.from_site[source.site] = account.from_site.get(source.site, 0) + length
    return [part for part in parts if part is not None]


def get_spans(connector: Connector, batch: _Batch) -> Sequence[Buffer | None]:
    """The parts, by the best power that the connector has."""
    if batch[0][0].layout == OBJECTS:
        return [connector.get(key) for _, (key, _, _) in batch]
    spans = [span for _, span in batch]
    if isinstance(connector, SupportsRanges):
        return connector.get_ranges(spans)
    if isinstance(connector, SupportsRange):
        return [connector.get_range(*span) for span in spans]
    return [None if (whole := connector.get(key)) is None else memoryview(whole)[start : start + length] for key, start, length in spans]


def _who_is_lost(batch: _Batch, failure: StoreError) -> SegmentsLostError:
    """Ask for each block by itself: one shard of a cluster may be gone while the others answer. Bounded in time."""
    deadline = time.monotonic() + _PROBE_S
    gone: list[Source] = []
    for source, (key, _, _) in batch:
        try:
            if time.monotonic() > deadline or not Store.from_url(source.store).connector.exists(key):
                gone.append(source)
        except StoreError:
            gone.append(source)
    return lost(gone or [source for source, _ in batch], str(failure), store=batch[0][0].store)


def lost(sources: Sequence[Source], why: str, *, store: str | None = None) -> SegmentsLostError:
    """The error that says which sources are to be made again. ``store``: it failed as a whole; better not to write there."""
    indexes = tuple(sorted({source.index for source in sources}))
    return SegmentsLostError(f"intermediate data of {len(indexes)} of the maps cannot be read: {why}", sources=indexes, store=store)
