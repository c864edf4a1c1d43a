"""Through object storage that both sites use: read where the object lies in it, else after the source has put a copy there."""

from __future__ import annotations

from collections.abc import Sequence

from fedproxy.errors import DataLostError, FedproxyError, RouteUnavailableError
from fedproxy.store.connectors.base import Connector, SupportsRange
from fedproxy.store.registry import open_store
from fedproxy.transfer.objects import Replica
from fedproxy.transfer.plan import BUCKET
from fedproxy.transfer.routes.base import Move, Outgoing, Trip, Watch
from fedproxy.transfer.routes.relay import exported
from fedproxy.transfer.routes.url import receive
from fedproxy.transfer.service_link import ServiceLink
from fedproxy.transfer.sites import Site


class BucketRoute:
    """Reads from shared buckets. Credentials are this machine's own."""

    name = BUCKET

    def __init__(self, link: ServiceLink, *, give_up_s: float = 600.0) -> None:
        self._link, self._give_up_s = link, give_up_s

    def fetch(self, batch: Sequence[Move], trip: Trip, watch: Watch) -> None:
        """See `Route.fetch`."""
        there = [move for move in batch if in_bucket(move.source.store, trip.here)]
        for move in there:
            self._fetch(move, move.source, watch)
        if len(there) == len(batch):
            return
        bucket = next((each for each in trip.here.buckets if each in trip.source.buckets), None)
        if bucket is None:
            raise RouteUnavailableError(f"no bucket is shared with site {trip.source.name!r}")
        rest = [move for move in batch if move not in there]
        exported(self._link, BUCKET, rest, [bucket], watch, lambda move, copy: self._fetch(move, copy, watch), self._give_up_s, bucket)

    def _fetch(self, move: Move, source: Replica, watch: Watch) -> None:
        if watch.cancelled(move):
            return
        try:
            connector = open_store(source.store).connector
            size = move.wanted.size
            if size and isinstance(connector, SupportsRange):
                receive(lambda start, end: _range(connector, source, start, end), move.partial, lambda count: watch.advanced(move, count))
            else:
                self._whole(connector, move, source, watch)
        except FedproxyError as exc:
            watch.failed(move, exc)
        else:
            watch.arrived(move)

    @staticmethod
    def _whole(connector: Connector, move: Move, source: Replica, watch: Watch) -> None:
        data = connector.get(source.key)
        if data is None:
            raise _lost(source)
        view = memoryview(data).cast("B")
        move.partial.resize(len(view))
        receive(lambda start, end: bytes(view[start:end]), move.partial, lambda count: watch.advanced(move, count))

    def export(self, objects: Sequence[Outgoing], here: Site) -> list[Replica]:
        """See `SupportsExport.export`; ``here.buckets`` begins with the bucket that was asked for."""
        store = open_store(here.buckets[0])
        copies = []
        for each in objects:
            data = open_store(each.replica.store).connector.get(each.replica.key)
            if data is None:
                raise _lost(each.replica)
            store.connector.put([data], key=each.wanted.id)
            copies.append(Replica("", here.buckets[0], each.wanted.id))
        return copies

    def close(self) -> None:
        """Stores belong to the process."""


def in_bucket(store: str, here: Site) -> bool:
    """Whether a store is one of the site's shared buckets."""
    return any(store.startswith(bucket) for bucket in here.buckets)


def _range(connector: SupportsRange, source: Replica, start: int, end: int) -> bytes:
    data = connector.get_range(source.key, start, end - start)
    if data is None:
        raise _lost(source)
    return bytes(data)


def _lost(source: Replica) -> DataLostError:
    return DataLostError("the object is not there any more", key=source.key, store=source.store, site=source.site)
