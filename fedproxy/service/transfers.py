"""Who moves what to whom: what stagers report. The present is in memory, the past of each user in the database."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from sqlite3 import Connection
from typing import Any

from attrs import asdict, frozen

from fedproxy.errors import NotFoundError
from fedproxy.service.commit import GroupCommit
from fedproxy.service.ledger import Ledger

ACTIVE = ("queued", "moving")
_SILENCE_S = 60.0


@frozen
class Report:
    """One transfer, as its stager tells it. Times are seconds since the epoch by the stager's clock."""

    id: str
    object: str
    destination: str
    source: str = ""
    route: str = ""
    size: int = 0
    done: int = 0
    state: str = "queued"
    """queued, moving, done, failed, cancelled."""
    error: str = ""
    explain: str = ""
    """Why this route."""
    attempts: int = 0
    tasks: int = 0
    """How many asked for it."""
    endpoint: str = ""
    """The endpoint whose agent moves it; empty: a client."""
    started: float = 0.0
    ended: float = 0.0


class Transfers:
    """Reports of each user's transfers."""

    def __init__(self, ledger: Ledger, commit: GroupCommit) -> None:
        self._ledger, self._commit = ledger, commit
        self._active: defaultdict[str, dict[str, tuple[float, Report]]] = defaultdict(dict)
        self._unwanted: defaultdict[str, set[str]] = defaultdict(set)

    def report(self, user: str, reports: Iterable[Report]) -> list[str]:
        """What has changed. Returns the ids of those that somebody wants cancelled."""
        over = []
        for each in reports:
            if each.state in ACTIVE:
                self._active[user][each.id] = (time.monotonic(), each)
            else:
                self._active[user].pop(each.id, None)
                self._unwanted[user].discard(each.id)
                over.append((user, each.id, each.started, json.dumps(asdict(each)).encode()))
        if over:
            self._commit.next.other.append(partial(_insert, over))
            self._commit.ask()
        return sorted(self._unwanted[user])

    def active(self, user: str) -> list[Report]:
        """What moves now, oldest first. One whose stager has been silent for a minute is not shown."""
        now = time.monotonic()
        for name, (heard, _) in list(self._active[user].items()):
            if now - heard > _SILENCE_S:
                del self._active[user][name]
        return sorted((report for _, report in self._active[user].values()), key=lambda r: r.started)

    def listing(self, user: str, limit: int) -> list[Report]:
        """What moves now, and the latest that have ended."""
        past = self._ledger.rows("SELECT body FROM transfers WHERE user = ? ORDER BY started DESC LIMIT ?", (user, limit))
        return [_report(body) for (body,) in reversed(past)] + self.active(user)

    def find(self, user: str, name: str) -> Report:
        """One by its id or the beginning of it.

        Raises:
            NotFoundError: there is none, or several.
        """
        found = {report.id: report for report in self.listing(user, 10_000) if report.id.startswith(name)}
        if len(found) != 1:
            raise NotFoundError(f"{len(found) or 'no'} transfers {name!r}", hint="see `fedproxy transfer list`")
        return found.popitem()[1]

    def cancel(self, user: str, name: str) -> Report:
        """Ask for the end of one: its stager hears of it with its next report, within a second or so. Raises as `find`."""
        report = self.find(user, name)
        if report.state in ACTIVE:
            self._unwanted[user].add(report.id)
        return report

    def load(self, user: str, endpoint: str) -> dict[str, int]:
        """What an endpoint moves now."""
        mine = [report for report in self.active(user) if report.endpoint == endpoint]
        return {"transfers": len(mine), "bytes_done": sum(r.done for r in mine), "bytes_total": sum(r.size for r in mine)}


def _report(body: bytes) -> Report:
    known: dict[str, Any] = json.loads(body)
    return Report(**known)


def _insert(rows: Sequence[tuple[object, ...]], connection: Connection) -> None:
    connection.executemany("INSERT OR REPLACE INTO transfers (user, id, started, body) VALUES (?, ?, ?, ?)", rows)
