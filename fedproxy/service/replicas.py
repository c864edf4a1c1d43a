"""Where copies of objects are: told by whoever staged one, forgotten when it goes or its time is over. Per user; never a byte of an object."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from sqlite3 import Connection

from attrs import frozen

from fedproxy.service.commit import GroupCommit
from fedproxy.service.ledger import Ledger

_COLUMNS = "object, site, store, key, size, digest"
_MOST_NAMES = 500


@frozen
class Copy:
    """One copy of an object."""

    object: str
    site: str
    store: str
    key: str
    size: int
    digest: str = ""
    """Hex."""
    ttl_s: float = 24 * 3600.0


@frozen
class Failure:
    """An export that could not be done."""

    object: str
    route: str
    error: str
    message: str


class Replicas:
    """The catalogue of copies."""

    def __init__(self, ledger: Ledger, commit: GroupCommit) -> None:
        self._ledger, self._commit = ledger, commit
        self._changed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._failures: dict[tuple[str, str, str], Failure] = {}

    async def add(self, user: str, copies: Iterable[Copy]) -> None:
        """Remember copies; returns when they are durable."""
        now = time.time()
        rows = [(user, c.object, c.site, c.store, c.key, c.size, c.digest, now + c.ttl_s) for c in copies]
        self._commit.next.other.append(partial(_insert, rows))
        await self._commit.flush()
        self._tell(user)

    async def remove(self, user: str, places: Iterable[tuple[str, str]]) -> None:
        """Forget copies: (object, store)."""
        rows = [(user, name, store) for name, store in places]
        self._commit.next.other.append(partial(_delete, rows))
        await self._commit.flush()

    def find(self, user: str, objects: Sequence[str]) -> list[Copy]:
        """All copies of these objects that the user has."""
        found: list[Copy] = []
        now = time.time()
        for at in range(0, len(objects), _MOST_NAMES):
            batch = objects[at:at + _MOST_NAMES]
            marks = ",".join("?" * len(batch))
            sql = f"SELECT {_COLUMNS} FROM replicas WHERE user = ? AND expires > ? AND object IN ({marks})"  # noqa: S608 - constants
            found += [Copy(*row) for row in self._ledger.rows(sql, (user, now, *batch))]
        return found

    def export_failed(self, user: str, failures: Iterable[Failure]) -> None:
        """Those who wait for these exports wait in vain."""
        for failure in failures:
            if len(self._failures) > 10_000:
                self._failures.clear()
            self._failures[user, failure.object, failure.route] = failure
        self._tell(user)

    def export_begins(self, user: str, objects: Iterable[str], route: str) -> None:
        """An earlier failure says nothing of what is asked for now."""
        for name in objects:
            self._failures.pop((user, name, route), None)

    async def wait(self, user: str, objects: Sequence[str], route: str, stores: tuple[str, ...], timeout_s: float) -> tuple[list[Copy], list[Failure]]:
        """Until each of the objects has a copy in one of ``stores`` (prefixes of URLs) or has failed, or the time is over: what there is by then."""
        deadline = time.monotonic() + timeout_s
        while True:
            changed = self._changed[user]
            copies = [copy for copy in self.find(user, objects) if copy.store.startswith(stores)]
            failures = [f for name in objects if (f := self._failures.get((user, name, route))) is not None]
            left_s = deadline - time.monotonic()
            if len({c.object for c in copies} | {f.object for f in failures}) == len(set(objects)) or left_s <= 0:
                return copies, failures
            try:
                await asyncio.wait_for(changed.wait(), left_s)
            except TimeoutError:
                pass

    def forget_expired(self) -> None:
        """Called now and then: copies whose time is over."""
        self._commit.next.other.append(partial(_expire, time.time()))

    def _tell(self, user: str) -> None:
        self._changed.pop(user, asyncio.Event()).set()


def _insert(rows: Sequence[tuple[object, ...]], connection: Connection) -> None:
    connection.executemany("INSERT OR REPLACE INTO replicas (user, object, site, store, key, size, digest, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _delete(rows: list[tuple[str, str, str]], connection: Connection) -> None:
    connection.executemany("DELETE FROM replicas WHERE user = ? AND object = ? AND store = ?", rows)


def _expire(now: float, connection: Connection) -> None:
    connection.execute("DELETE FROM replicas WHERE expires <= ?", (now,))
