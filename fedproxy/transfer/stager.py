"""Brings objects to this site: once each, however many ask; in the agent and in the client alike.

Strategy: whoever asks gets a future. Objects wait in one queue; a few workers take the first, with others from the same site, ask the service
where they lie, let `plan` choose, and give them to a route as one batch. What fails is tried again, by another route if there is one, with growing
pauses, until `give_up_s`. What has arrived is checked, becomes a copy in the site's space and is told to the catalogue; what broke off goes on
where it stopped, also in another process.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from attrs import field, frozen

from fedproxy.config.home import host_id
from fedproxy.errors import DataLostError, DigestMismatchError, FedproxyError, ServiceError, StagingFullError, TransferCancelledError, TransferError
from fedproxy.serialize.sign import stored_digest
from fedproxy.transfer.objects import Replica, Wanted
from fedproxy.transfer.plan import Option, Plan, Question, plan
from fedproxy.transfer.progress import BatchWatch
from fedproxy.transfer.routes.base import Move, Outgoing, Route, SupportsExport, Trip
from fedproxy.transfer.service_link import Atlas, ServiceLink
from fedproxy.transfer.sites import Site
from fedproxy.transfer.space import Space
from fedproxy.transfer.speeds import Speeds
from fedproxy.transfer.staged import CANCELLED, DONE, FAILED, MOVING, OVER, QUEUED, BatchLimits, Entry, first_batch

log = logging.getLogger(__name__)

_BATCH = BatchLimits(200, 64 * 1024 * 1024)
_GLOBUS_BATCH = BatchLimits(10_000)
_HEAD_BYTES = 128
_REPORT_S = 1.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_KEPT_OVER = 200


@frozen
class Here:
    """Who stages."""

    site: str
    endpoint: str = ""
    """The endpoint's id; empty: a client."""
    offers: Site = field(factory=lambda: Site(""))
    """What this side has for routes: buckets, a Globus collection."""


@frozen
class Limits:
    """How much at once, and for how long."""

    parallel_batches: int = 2
    give_up_s: float = 60.0
    attempts: int = 8


@frozen
class Parts:
    """What a stager works with."""

    link: ServiceLink
    space: Space
    routes: Mapping[str, Route]
    speeds: Speeds = field(factory=lambda: Speeds(None))


class Stager:
    """Fetches objects to one site. Thread-safe; `close` stops it."""

    def __init__(self, here: Here, parts: Parts, limits: Limits = Limits()) -> None:
        self.here, self.parts, self._limits = here, parts, limits
        self._entries: dict[str, Entry] = {}
        self._over: list[Entry] = []
        self._queue: list[Entry] = []
        self._free = limits.parallel_batches
        self.staged_bytes = 0
        """Brought here so far."""
        self._closed = False
        self._closing = threading.Event()
        self.own_stores: Callable[[], Sequence[str]] = tuple
        """Stores whose objects others may have; none for a client."""
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(limits.parallel_batches + 2, "fedproxy-stage")
        self._threads = [threading.Thread(target=work, name=name, daemon=True) for work, name in (
            (self._dispatch, "fedproxy-stager"), (self._report_forever, "fedproxy-reports"))]
        for thread in self._threads:
            thread.start()

    # ------------------------------------------------------------ for those who ask

    def stage(self, wanted: Wanted) -> Future[None]:
        """Have an object here. The future ends when it is; cancel it when you want it no more."""
        return self.stage_all([wanted])[0]

    def stage_all(self, wanted: Sequence[Wanted]) -> list[Future[None]]:
        """`stage` for each, at once: what comes from one site goes as one batch."""
        waiters: list[Future[None]] = []
        missing: list[tuple[Wanted, Future[None]]] = []
        for each in wanted:
            waiter: Future[None] = Future()
            waiters.append(waiter)
            if self.parts.space.has(each):
                waiter.set_result(None)
            else:
                missing.append((each, waiter))
        with self._changed:
            for each, waiter in missing:
                self._want(each, waiter)
            self._changed.notify_all()
        return waiters

    def _want(self, wanted: Wanted, waiter: Future[None]) -> None:
        entry = self._entries.get(wanted.id)
        if entry is None and self.parts.space.has(wanted):  # it has arrived since we looked
            waiter.set_result(None)
            return
        if entry is None or entry.unwanted:
            entry = self._entries[wanted.id] = Entry(wanted)
            self._queue.append(entry)
        entry.waiters.append(waiter)
        entry.asked += 1

    def cancel(self, ids: Sequence[str]) -> None:
        """End these transfers (ids as in reports)."""
        with self._changed:
            for entry in self._entries.values():
                if entry.id in ids:
                    entry.stopped = True
            self._changed.notify_all()

    def transfers(self) -> list[Entry]:
        """What is on its way, and the latest that have ended."""
        with self._changed:
            return [*self._over, *self._entries.values()]

    def export(self, route: str, objects: Sequence[Outgoing], place: str = "") -> Future[None]:
        """Make objects of this site available by a route; tells the catalogue, also of a failure."""
        return self._pool.submit(self._export, route, objects, place)

    def close(self) -> None:
        """Stop: what is on its way goes on another time. Idempotent."""
        with self._changed:
            self._closed = True
            self._closing.set()
            for entry in self._entries.values():
                entry.stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(10)
        self._pool.shutdown(wait=True, cancel_futures=True)
        for route in self.parts.routes.values():
            route.close()
        self.parts.speeds.save()
        self.parts.space.close()

    def tell_copies(self, copies: Sequence[tuple[Wanted, Replica]]) -> None:
        """Have the catalogue know of copies that were made here, in the background: nobody waits for that."""
        def tell() -> None:
            with suppress(FedproxyError):
                self.parts.link.add_copies(copies)

        with suppress(RuntimeError):  # closed
            self._pool.submit(tell)

    # ------------------------------------------------------------ taking turns

    def _dispatch(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not (self._free and self._due()):
                    self._changed.wait(self._next_due())
                if self._closed:
                    break
                batch = self._claim()
                self._free -= 1
            self._pool.submit(self._work, batch)
        for entry in list(self._entries.values()):
            if entry.state == QUEUED:
                self._end(entry, CANCELLED, TransferCancelledError("the stager was stopped"))

    def _due(self) -> bool:
        now = time.monotonic()
        return any(entry.due <= now or entry.unwanted for entry in self._queue)

    def _next_due(self) -> float:
        return max(0.01, min((entry.due - time.monotonic() for entry in self._queue if self._free), default=1.0))

    def _claim(self) -> list[Entry]:
        """The first that is due, and those behind it from the same site, up to the size of a batch."""
        batch = first_batch(self._queue, time.monotonic(), _GLOBUS_BATCH if self.here.offers.globus.collection else _BATCH)
        gone = set(map(id, batch))
        self._queue = [entry for entry in self._queue if id(entry) not in gone]
        return batch

    def _work(self, batch: Sequence[Entry]) -> None:
        try:
            self._move_batch(batch)
        except Exception as exc:  # the boundary of a batch: whatever went wrong is the verdict on its objects
            log.exception("staging failed")
            for entry in batch:
                if entry.state not in OVER:
                    self._end(entry, FAILED, TransferError(f"staging failed: {exc!r}"))
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    # ------------------------------------------------------------ one batch

    def _move_batch(self, batch: Sequence[Entry]) -> None:
        wanted = [entry for entry in batch if not (self._dropped(entry) or self._here_already(entry))]
        if not wanted:
            return
        try:
            atlas = self.parts.link.atlas()
            copies = self.parts.link.copies([entry.wanted.id for entry in wanted])
        except ServiceError as exc:
            for entry in wanted:
                self._again(entry, "service", exc, None, None)
            return
        groups: dict[tuple[str, str], list[tuple[Entry, Option, Plan]]] = {}
        for entry in wanted:
            made = self._plan(entry, atlas, copies.get(entry.wanted.id, ()))
            entry.explain = made.explain()
            if not made.options:
                self._again(entry, "no route", TransferError(made.explain()), made, atlas)
                continue
            first = made.options[0]
            groups.setdefault((first.route, first.source.site), []).append((entry, first, made))
        for (route, site), members in groups.items():
            self._fetch(self.parts.routes[route], atlas.sites.get(site, Site(site)), members, atlas)

    def _plan(self, entry: Entry, atlas: Atlas, copies: Sequence[Replica]) -> Plan:
        origin = entry.wanted.origin
        if origin.site not in atlas.sites or origin.store not in atlas.sites[origin.site].stores:
            named = next((site.name for site in atlas.sites.values() if origin.store in site.stores), origin.site)
            origin = Replica(named, origin.store, origin.key)
        elsewhere = [copy for copy in copies if copy.store != self.parts.space.url]  # ours is gone, or it would not be asked for
        question = Question(
            entry.wanted.size, self.here.offers, host_id(), [origin, *elsewhere], atlas.sites,
            self.parts.speeds.view(), time.time(), tuple(self.parts.routes), atlas.relay)
        return plan(question)

    def _fetch(self, route: Route, source: Site, members: Sequence[tuple[Entry, Option, Plan]], atlas: Atlas) -> None:
        moves = self._open(route, source, members)
        if not moves:
            return
        watch = BatchWatch(self, route.name, moves)
        problem: FedproxyError | None = None
        try:
            route.fetch(list(moves), Trip(source, self.here.offers), watch)
        except FedproxyError as exc:
            problem = exc
        except OSError as exc:
            problem = TransferError(f"{route.name}: {exc}")
        watch.finish()
        for move, entry in moves.items():
            move.partial.close()
            if entry.state in OVER or self._dropped(entry):
                continue
            error = watch.failures.get(move) or problem or TransferError(f"{route.name} ended without it")
            made = next(made for each, _, made in members if each is entry)
            if not isinstance(error, DataLostError | StagingFullError):
                self.parts.speeds.failed((source.name, self.here.site, route.name), error.message)
            self._again(entry, route.name, error, made, atlas)

    def _open(self, route: Route, source: Site, members: Sequence[tuple[Entry, Option, Plan]]) -> dict[Move, Entry]:
        moves: dict[Move, Entry] = {}
        for entry, option, made in members:
            try:
                partial = self.parts.space.open_partial(entry.wanted.id, entry.wanted.size)
            except (FedproxyError, OSError) as exc:
                self._again(entry, "space", exc, made, None)
                continue
            entry.state, entry.route, entry.source, entry.changed = MOVING, route.name, source.name, True
            entry.attempts += 1
            entry.done = partial.received
            moves[Move(entry.wanted, option.source, partial)] = entry
        return moves

    def arrived(self, move: Move, entry: Entry) -> None:
        """All of it is in its file: check it, and make it a copy.

        Raises:
            DigestMismatchError: it is another object, or corrupted.
        """
        if entry.wanted.digest and stored_digest(move.partial.head(_HEAD_BYTES)) != entry.wanted.digest:
            move.partial.forget()
            raise DigestMismatchError(f"what arrived from site {entry.source!r} is another object, or corrupted", site=entry.source)
        self.parts.space.adopt(move.partial, entry.wanted.id)
        entry.done = entry.wanted.size
        self._end(entry, DONE, None)

    # ------------------------------------------------------------ how it ends

    def _here_already(self, entry: Entry) -> bool:
        """Another process of this site may have brought it."""
        if entry.attempts and self.parts.space.has(entry.wanted):
            self._end(entry, DONE, None)
            return True
        return False

    def _dropped(self, entry: Entry) -> bool:
        if entry.unwanted:
            self._end(entry, CANCELLED, TransferCancelledError("this transfer was cancelled", site=entry.source or entry.wanted.origin.site))
            return True
        return False

    def _again(self, entry: Entry, route: str, error: Exception, made: Plan | None, atlas: Atlas | None) -> None:
        """Try again after a pause, or give up."""
        entry.problem(route, error)
        waited = time.monotonic() - entry.since
        unknown = made is not None and not made.options and atlas is not None and not entry.attempts and entry.wanted.origin.site not in atlas.sites
        gone = isinstance(error, DataLostError) and (made is None or len(made.options) < 2 or entry.attempts > 2)
        hopeless = isinstance(error, StagingFullError) and waited > self._limits.give_up_s / 4
        if gone or hopeless or unknown or waited >= self._limits.give_up_s or entry.attempts >= self._limits.attempts:
            seen = max((e.seen or 0.0 for e in atlas.sites[entry.wanted.origin.site].endpoints), default=0.0) if (
                atlas is not None and entry.wanted.origin.site in atlas.sites) else None
            self._end(entry, FAILED, entry.verdict(made, seen))
            return
        pause_s = min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** min(len(entry.tried), 10)) * random.uniform(0.7, 1.3)  # noqa: S311 - jitter
        log.info("transfer %s of %s from %r by %s: %s; again in %.1f s", entry.id, entry.wanted.id, entry.wanted.origin.site, route, error, pause_s)
        with self._changed:
            entry.state, entry.due, entry.changed = QUEUED, time.monotonic() + pause_s, True
            self._queue.append(entry)
            self._changed.notify_all()

    def _end(self, entry: Entry, state: str, error: FedproxyError | None) -> None:
        with self._changed:
            if entry.state in OVER:
                return
            entry.state, entry.error, entry.ended, entry.changed = state, error, time.time(), True
            self.staged_bytes += entry.done if state == DONE else 0
            if self._entries.get(entry.wanted.id) is entry:
                del self._entries[entry.wanted.id]
            untold = [each for each in self._over[:-_KEPT_OVER] if each.changed]
            self._over = [*untold, *self._over[-_KEPT_OVER:], entry]
            waiters = list(entry.waiters)
            self._changed.notify_all()
        for waiter in waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(None) if error is None else waiter.set_exception(error)

    # ------------------------------------------------------------ for others

    def _export(self, route: str, objects: Sequence[Outgoing], place: str) -> None:
        names = [each.wanted.id for each in objects]
        try:
            way = self.parts.routes.get(route)
            if not isinstance(way, SupportsExport):
                raise TransferError(f"route {route!r} is not allowed at site {self.here.site!r}")
            here = self.here.offers
            own = self.own_stores()
            foreign = next((each.replica.store for each in objects if each.replica.store not in own), None)
            if foreign is not None:
                raise DataLostError("this site has no such store", store=foreign, site=self.here.site)
            if place:
                if place not in here.buckets:
                    raise TransferError(f"site {self.here.site!r} has no bucket {place}")
                here = Site(here.name, here.endpoints, here.stores, (place,), here.published, here.globus)
            copies = way.export(objects, here)
            self.parts.link.add_copies((each.wanted, copy) for each, copy in zip(objects, copies, strict=True))
        except (FedproxyError, OSError) as exc:
            log.warning("cannot make %d objects available by %s: %s", len(names), route, exc)
            with suppress(FedproxyError):
                self.parts.link.export_failed(names, route, exc)

    def _report_forever(self) -> None:
        last = False
        while not last:
            with self._changed:
                while not (self._closed or self._entries or any(entry.changed for entry in self._over)):
                    self._changed.wait(30.0)
            self._closing.wait(_REPORT_S)
            with self._changed:
                last = self._closed
                told = [entry for entry in (*self._over, *self._entries.values()) if entry.changed or entry.state == MOVING]
                for entry in told:
                    entry.changed = False
            if not told:
                continue
            try:
                self.cancel(self.parts.link.report([entry.as_report(self.here.site, self.here.endpoint) for entry in told]))
            except FedproxyError as exc:
                log.debug("the service was not told of %d transfers: %s", len(told), exc)
                for entry in told:
                    entry.changed = True
