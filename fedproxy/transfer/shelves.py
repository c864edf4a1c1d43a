"""What a data server reads from and writes to: the site's own stores, and objects that are being pushed here."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from fedproxy.errors import DataLostError, FedproxyError, TicketError, TransferError
from fedproxy.protocol.tickets import Grant
from fedproxy.store.connectors.base import Connector
from fedproxy.store.registry import open_store
from fedproxy.transfer.partial import LEAF_BYTES, Partial
from fedproxy.transfer.space import Space

_KEPT_OPEN = 8
_KEPT_S = 20.0


class Shelves:
    """Reads and removes objects of the site's own stores, and of no others."""

    def __init__(self, stores: Sequence[str], space: Space) -> None:
        self._stores = tuple(stores)
        self._space = space
        self._open: OrderedDict[tuple[str, str], tuple[float, memoryview]] = OrderedDict()
        self._lock = threading.Lock()
        self._known: tuple[str, ...] = ()

    def _connector(self, url: str, key: str) -> Connector:
        if url == self._space.url:
            return self._space.store
        for own in self._stores:
            if url == own or open_store(own).url == url:
                return open_store(own).connector
        raise DataLostError("this site has no such store", key=key, store=url)

    def known(self) -> tuple[str, ...]:
        """The stores' URLs as refs name them; those that cannot be opened are left out."""
        if len(self._known) < len(self._stores):
            self._known = tuple(url for own in self._stores if (url := _canonical(own)))
        return self._known

    def read(self, grant: Grant) -> memoryview:
        """The object's bytes. What was asked for a moment ago is kept open.

        Raises:
            DataLostError: it is not there.
        """
        name = (grant.store, grant.key)
        now = time.monotonic()
        with self._lock:
            while self._open and (len(self._open) > _KEPT_OPEN or next(iter(self._open.values()))[0] < now - _KEPT_S):
                self._open.popitem(last=False)
            if name in self._open:
                return self._open[name][1]
        data = self._connector(grant.store, grant.key).get(grant.key)
        if data is None:
            raise DataLostError("the object is not there any more", key=grant.key, store=grant.store)
        view = memoryview(data).cast("B")
        if len(view) > LEAF_BYTES:
            with self._lock:
                self._open[name] = (now, view)
        return view

    def evict(self, grant: Grant) -> None:
        """Remove an object."""
        with self._lock:
            self._open.pop((grant.store, grant.key), None)
        self._connector(grant.store, grant.key).evict(grant.key)

    def clear(self) -> None:
        """Forget what is kept open."""
        with self._lock:
            self._open.clear()


def _canonical(url: str) -> str:
    try:
        return open_store(url).url
    except FedproxyError:
        return ""


class Arrivals:
    """Objects that are being pushed here."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._partials: dict[str, Partial] = {}
        self._lock = threading.Lock()

    def _key(self, grant: Grant) -> str:
        if grant.store != self._space.url or len(grant.key) == 32:
            raise TicketError("what is pushed here goes into this site's own space, under a new name")
        return grant.key

    def have(self, grant: Grant) -> tuple[int, list[tuple[int, int]]]:
        """Its size and what is missing; (0, []) for one that is here or has not begun."""
        with self._lock:
            partial = self._partials.get(self._key(grant))
        return (partial.size, partial.missing()) if partial else (0, [])

    def take(self, grant: Grant, total: int) -> Partial:
        """The file to write to. Raises ``StagingFullError`` where there is no room."""
        key = self._key(grant)
        with self._lock:
            partial = self._partials.get(key)
            if partial is None:
                partial = self._partials[key] = self._space.open_partial(key, total)
        if partial.size != total:
            raise TransferError(f"an object of {partial.size:,} bytes cannot have {total:,}")
        return partial

    def settled(self, grant: Grant, partial: Partial) -> bool:
        """Some of it is in; when all is, it becomes an object. Returns whether it has."""
        with self._lock:
            if not partial.complete or grant.key not in self._partials:
                return partial.complete
            del self._partials[grant.key]
        self._space.adopt(partial, grant.key)
        return True

    def close(self) -> None:
        """Close what is open; it goes on another time."""
        with self._lock:
            for partial in self._partials.values():
                partial.close()
            self._partials.clear()
