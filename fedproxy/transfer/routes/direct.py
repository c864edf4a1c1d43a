"""From the data server of an endpoint at the source: ranges over parallel streams, many small objects in one answer, resumed where it broke off.

Strategy: a stream asks for its next range before it has read the last one, so that the link is never idle for a round trip. Large objects are cut
into runs that all streams take from one queue; small ones travel in batches. Batches from one source take turns, so that what was asked for first
arrives first, with the whole link, instead of all of it late; what is large does not hold up what is small. What arrives is checked piece by piece
against the digests that came along, and a wrong piece is asked for again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from attrs import define, field, frozen

from fedproxy.config.home import host_id
from fedproxy.errors import (
    DataLostError,
    DigestMismatchError,
    FedproxyError,
    RouteUnavailableError,
    SourceLostError,
    StagingFullError,
    TransferError,
)
from fedproxy.protocol.tickets import Grant
from fedproxy.transfer.data_server import BATCH_HEAD, DIGEST_BYTES, SCHEME, BatchRequest
from fedproxy.transfer.http import Connection
from fedproxy.transfer.partial import LEAF_BYTES, runs
from fedproxy.transfer.plan import DIRECT, is_loopback
from fedproxy.transfer.routes.base import Move, Trip, Watch
from fedproxy.transfer.service_link import ServiceLink
from fedproxy.transfer.sites import Endpoint, Site

_SMALL_BYTES = LEAF_BYTES
_BATCH_BYTES = 1024 * 1024
_BATCH_OBJECTS = 100
_LONGEST_RUN_BYTES = 32 * 1024 * 1024
_AGAIN = 3
_AHEAD = 2
_IDLE_S = 15.0
_LARGE_BYTES = 64 * 1024 * 1024


@frozen
class Run:
    """Some neighbouring pieces of one object."""

    place: int
    start: int
    end: int
    attempt: int = 0


@frozen
class Small:
    """Whole objects for one request."""

    places: tuple[int, ...]
    attempt: int = 0


Job = Run | Small


@define
class _Work:
    """What the streams of one batch share."""

    moves: Sequence[Move]
    endpoint: Endpoint
    ticket: str = field(repr=False)
    watch: Watch
    jobs: deque[Job]
    lock: threading.Lock = field(factory=threading.Lock)
    over: set[int] = field(factory=set)
    """Places of objects that have arrived or failed."""

    def next(self) -> Job | None:
        """The next job of an object that is still wanted."""
        with self.lock:
            while self.jobs:
                job = self.jobs.popleft()
                if any(place not in self.over and not self.watch.cancelled(self.moves[place]) for place in _places(job)):
                    return job
        return None

    def again(self, job: Job) -> None:
        """Do it again, before others."""
        with self.lock:
            self.jobs.appendleft(job)

    def fail(self, place: int, error: FedproxyError) -> None:
        """One object cannot be had."""
        with self.lock:
            if place in self.over:
                return
            self.over.add(place)
        self.watch.failed(self.moves[place], error)

    def look(self, place: int) -> None:
        """Tell of an object that is whole."""
        with self.lock:
            if place in self.over or not self.moves[place].partial.complete:
                return
            self.over.add(place)
        self.watch.arrived(self.moves[place])


class DirectRoute:
    """Pulls from data servers."""

    name = DIRECT

    def __init__(self, link: ServiceLink, *, streams: int = 4, stall_s: float = 30.0) -> None:
        self._link, self._streams, self._stall_s = link, max(1, streams), stall_s
        self._idle: deque[tuple[float, Connection]] = deque()
        """Connections between two batches: a new one would have to find out again how much the link carries."""
        self._lock = threading.Lock()
        self._turns: dict[tuple[str, bool], threading.Semaphore] = {}
        """By source, and whether a batch is large: as many streams as there may be at once. First come, first served."""

    def fetch(self, batch: Sequence[Move], trip: Trip, watch: Watch) -> None:
        """See `Route.fetch`."""
        endpoint = server_of(trip.source, batch[0].source.store)
        ticket = self._link.ticket(endpoint.id, "GET", (Grant(move.source.store, move.source.key) for move in batch))
        work = _Work(batch, endpoint, ticket, watch, deque(self._jobs(batch)))
        for place, move in enumerate(batch):
            if move.wanted.size == 0:
                self._whole(work, place)
            work.look(place)
        if work.jobs:
            self._pull(work)

    def _jobs(self, batch: Sequence[Move]) -> list[Job]:
        """In the order of the batch; neighbouring small objects go together."""
        jobs: list[Job] = []
        small: list[int] = []
        size = 0
        for place, move in enumerate(batch):
            missing = move.partial.missing()
            if move.wanted.size <= _SMALL_BYTES:
                if missing:
                    small.append(place)
                    size += move.wanted.size
                if size >= _BATCH_BYTES or len(small) >= _BATCH_OBJECTS:
                    jobs.append(Small(tuple(small)))
                    small, size = [], 0
                continue
            length = max(LEAF_BYTES, min(_LONGEST_RUN_BYTES, move.wanted.size // (4 * self._streams)))
            jobs += [Run(place, start, end) for start, end in runs(missing, length)]
        return [*jobs, Small(tuple(small))] if small else jobs

    def _whole(self, work: _Work, place: int) -> None:
        """An object whose size is not known: ask for it first."""
        move = work.moves[place]
        try:
            with self._connect(work) as connection:
                connection.ask("HEAD", f"/v1/objects/{place}", {"Authorization": f"{SCHEME} {work.ticket}"})
                move.partial.resize(int(connection.answer().headers["fedproxy-size"]))
        except DataLostError as exc:
            work.fail(place, exc)
            return
        work.jobs += [Run(place, start, end) for start, end in runs(move.partial.missing(), _LONGEST_RUN_BYTES)]

    def _connect(self, work: _Work) -> Connection:
        with self._lock:
            while self._idle and self._idle[0][0] < time.monotonic() - _IDLE_S:
                self._idle.popleft()[1].close()
            for place, (_, connection) in enumerate(self._idle):
                if connection.url == work.endpoint.data_url:
                    del self._idle[place]
                    return connection
        return Connection(work.endpoint.data_url, stall_s=self._stall_s)

    def _keep_open(self, connection: Connection) -> None:
        with self._lock:
            self._idle.append((time.monotonic(), connection))

    def _pull(self, work: _Work) -> None:
        streams = 1 if is_loopback(work.endpoint.data_url) else self._streams  # nothing is in flight there that a second one could add to
        count = min(streams, len(work.jobs))
        large = sum(move.wanted.size for move in work.moves) > _LARGE_BYTES
        with self._lock:
            turns = self._turns.setdefault((work.endpoint.data_url, large), threading.Semaphore(streams))
        with ThreadPoolExecutor(count, "fedproxy-stream") as pool:
            ends = [pool.submit(self._in_turn, turns, work) for _ in range(count)]
        errors = [error for end in ends if (error := end.exception()) is not None]
        if errors and len(work.over) < len(work.moves):
            raise errors[0]

    def _in_turn(self, turns: threading.Semaphore, work: _Work) -> None:
        with turns:
            self._stream(work)

    def _stream(self, work: _Work) -> None:
        """Take jobs until there are no more; after a refusal (the server closes the connection then) over another connection."""
        while work.jobs:
            asked: deque[Job] = deque()
            connection: Connection | None = self._connect(work)
            assert connection is not None
            try:
                self._serve(connection, work, asked)
                self._keep_open(connection)
                connection = None
            except DataLostError as exc:
                if not (asked and isinstance(asked[0], Run)):
                    raise
                work.fail(asked.popleft().place, exc)  # type: ignore[union-attr]
            finally:
                if connection is not None:
                    connection.close()
                    self.close()  # the idle ones may lead to the same end
                for job in reversed(asked):  # it broke: what was asked for is still to be done
                    work.again(job)

    def _serve(self, connection: Connection, work: _Work, asked: deque[Job]) -> None:
        """Jobs over one connection, ``asked`` first in first out."""
        while True:
            while len(asked) < _AHEAD and (job := work.next()) is not None:
                asked.append(job)
                self._ask(connection, work, job)
            if not asked:
                return
            self._take(connection, work, asked[0])
            asked.popleft()

    def _ask(self, connection: Connection, work: _Work, job: Job) -> None:
        if isinstance(job, Run):
            headers = {"Authorization": f"{SCHEME} {work.ticket}", "Range": f"bytes={job.start}-{job.end - 1}"}
            connection.ask("GET", f"/v1/objects/{job.place}", headers)
        else:
            connection.ask("POST", "/v1/batch", {}, msgspec.msgpack.encode(BatchRequest(work.ticket, job.places)))

    def _take(self, connection: Connection, work: _Work, job: Job) -> None:
        answer = connection.answer()
        if isinstance(job, Run):
            self._take_run(connection, work, job, answer.length)
        else:
            for place in job.places:
                self._take_small(connection, work, job, place)

    def _take_run(self, connection: Connection, work: _Work, job: Run, length: int) -> None:
        pieces = [(at, min(at + LEAF_BYTES, job.end)) for at in range(job.start, job.end, LEAF_BYTES)]
        if length != job.end - job.start + DIGEST_BYTES * len(pieces):
            raise TransferError("the data server answered another range than was asked for")
        for start, end in pieces:
            digest = self._pour(connection, work, job.place, start, end)
            if connection.read(DIGEST_BYTES) == digest:
                self._keep(work, job.place, start, end, digest)
            else:
                work.moves[job.place].partial.spoil(start)
                self._wrong(work, Run(job.place, start, end, job.attempt + 1))

    def _take_small(self, connection: Connection, work: _Work, job: Small, place: int) -> None:
        found, size, digest = BATCH_HEAD.unpack(connection.read(BATCH_HEAD.size))
        move = work.moves[place]
        if not found:
            work.fail(place, DataLostError("the object is not there any more", key=move.source.key, store=move.source.store, site=move.source.site))
            return
        if size != move.wanted.size:
            raise SourceLostError(f"the object has {size:,} bytes, not {move.wanted.size:,}")
        if self._pour(connection, work, place, 0, size) == digest:
            self._keep(work, place, 0, size, digest)
        else:
            self._wrong(work, Small((place,), job.attempt + 1))

    def _pour(self, connection: Connection, work: _Work, place: int, start: int, end: int) -> bytes:
        """Receive a piece; its digest. Where there is no room for it, it is received all the same: the next answer is behind it."""
        read = 0

        def read_into(view: memoryview) -> None:
            nonlocal read
            connection.read_into(view)
            read += len(view)

        try:
            return work.moves[place].partial.pour(start, end, read_into)
        except StagingFullError as exc:
            work.fail(place, exc)
            connection.skip(end - start - read)
            return b""

    def _keep(self, work: _Work, place: int, start: int, end: int, digest: bytes) -> None:
        move = work.moves[place]
        try:
            move.partial.settle(start, end, digest.hex())
            work.watch.advanced(move, end - start)
        except FedproxyError as exc:  # no room, or nobody wants it: the others go on
            work.fail(place, exc)
            return
        work.look(place)

    @staticmethod
    def _wrong(work: _Work, job: Job) -> None:
        """A digest did not match: again, a few times."""
        if job.attempt < _AGAIN:
            work.again(job)
            return
        for place in _places(job):
            message = f"what arrives is not what was sent, also after {_AGAIN} times"
            work.fail(place, DigestMismatchError(message, hint="check the network and the disks between"))

    def close(self) -> None:
        """Close idle connections; idempotent."""
        with self._lock:
            while self._idle:
                self._idle.popleft()[1].close()


def _places(job: Job) -> tuple[int, ...]:
    return (job.place,) if isinstance(job, Run) else job.places


def server_of(site: Site, store: str = "") -> Endpoint:
    """The endpoint at a site whose data server can be reached from here; the one that staged the copy where ``store`` is its own.

    Raises:
        RouteUnavailableError: there is none.
    """
    usable = [each for each in site.endpoints if each.data_url and each.online and (each.host == host_id() or not is_loopback(each.data_url))]
    if not usable:
        raise RouteUnavailableError(f"no data server of site {site.name!r} can be reached from here")
    return next((each for each in usable if each.replicas == store), usable[0])

