"""What an agent reports of itself: counted as tasks end, looked up when a heartbeat goes out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from fedproxy.endpoint.attached import Attached
from fedproxy.endpoint.engines.base import Load
from fedproxy.errors import FedproxyError
from fedproxy.protocol.messages import Outcome
from fedproxy.protocol.report import CacheReport, Report
from fedproxy.protocol.states import TaskState
from fedproxy.store import Store
from fedproxy.store.connectors.base import SupportsList
from fedproxy.store.connectors.node_cache import copies_url
from fedproxy.store.urls import StoreUrl

_CACHES_S = 30.0
_LISTED = 100
"""So many of an engine's workers or blocks are told one by one."""
_CACHES_SHARE = 100
"""Looking through the caches takes at most one part in so many of a processor's time."""


class Reporter:
    """Counts what ended, and puts reports together. Used on the loop's thread."""

    def __init__(self, attached: Attached, stores: Sequence[str]) -> None:
        self._attached = attached
        self._caches = [url for url in (_cache_of(store, attached) for store in stores) if url]
        self._seen: tuple[CacheReport, ...] = ()
        self._started = time.time()
        self._ended: Counter[int] = Counter()
        self._cpu_s = 0.0
        self._written_bytes = 0

    def count(self, outcomes: Iterable[tuple[Outcome, bytes]]) -> None:
        """These have ended."""
        for outcome, _ in outcomes:
            self._ended[outcome.state] += 1
            self._cpu_s += outcome.used[0]
            self._written_bytes += outcome.moved[1]

    def report(self, load: Load, details: Mapping[str, object], held: int) -> Report:
        """How the endpoint is doing now."""
        return Report(
            started=self._started, managers=_number(details, "managers", 1), busy=load.workers - load.idle, warm=_counts(details.get("warm")),
            walltime_left_s=_walltime(details), held=held, ended={TaskState(state).name: count for state, count in self._ended.items()},
            cpu_s=self._cpu_s, written_bytes=self._written_bytes, staged_bytes=_number(details, "staged_bytes", 0),
            caches=self._seen, redis=self._attached.report(), engine={name: _short(value) for name, value in details.items()})

    async def watch_caches(self) -> None:
        """Look through the node's caches now and then, in a thread, for as long as the task lives."""
        while True:
            began = time.monotonic()
            self._seen = await asyncio.to_thread(look_at_caches, self._caches)
            await asyncio.sleep(max(_CACHES_S, _CACHES_SHARE * (time.monotonic() - began)))


def look_at_caches(urls: Iterable[str]) -> tuple[CacheReport, ...]:
    """What these stores hold; one that cannot say is passed over."""
    found: list[CacheReport] = []
    for url in urls:
        with suppress(FedproxyError, OSError):
            connector = Store.from_url(url).connector
            if isinstance(connector, SupportsList):
                sizes = [entry.size_bytes for entry in connector.entries()]
                found.append(CacheReport(url, len(sizes), sum(sizes)))
    return tuple(found)


def _cache_of(store: str, attached: Attached) -> str:
    """What of a store lies in this node's memory."""
    if attached.url and store == attached.store_url:
        return copies_url(attached.url)
    return store if StoreUrl.parse(store).scheme == "shm" else ""


def _short(value: object) -> object:
    return list(value[:_LISTED]) if isinstance(value, list | tuple) else value


def _number(details: Mapping[str, object], name: str, default: int) -> int:
    value = details.get(name, default)
    return value if isinstance(value, int) else default


def _counts(value: object) -> dict[str, int]:
    return {str(name): count for name, count in value.items() if isinstance(count, int)} if isinstance(value, Mapping) else {}


def _walltime(details: Mapping[str, object]) -> float | None:
    value = details.get("walltime_left_s")
    return float(value) if isinstance(value, int | float) else None
