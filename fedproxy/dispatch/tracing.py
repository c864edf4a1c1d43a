"""A run as a trace for Perfetto (ui.perfetto.dev) and chrome://tracing. Pure.

Format: "Trace Event Format" (Google, 2016), JSON object form. An endpoint is a process, a worker a thread; on it stands each task, and in that its
phases. The service is a process of its own, where each task is an asynchronous slice from its acceptance to its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fedproxy.dispatch.accounts import Account, spans

_SERVICE = 1
_PHASES = {"fetch": "fetch arguments", "run": "run", "store": "store result"}
_COLOURS = {"FAILED": "terrible", "LOST": "terrible", "DEAD": "terrible", "EXPIRED": "bad", "CANCELLED": "grey"}
Event = dict[str, Any]


def trace_of(accounts: Sequence[Account]) -> dict[str, Any]:
    """The trace as a JSON document. Times are microseconds since the first task was submitted."""
    begin = min((a.timeline["submitted"] for a in accounts if a.timeline.get("submitted")), default=0.0)
    places = _Places()
    events = [event for account in accounts for event in _events(account, places, begin)]
    return {"traceEvents": [*places.names(), *events], "displayTimeUnit": "ms", "otherData": {"tool": "fedproxy", "began": begin}}


class _Places:
    """Numbers for endpoints and their workers."""

    def __init__(self) -> None:
        self._endpoints: dict[str, int] = {}
        self._workers: dict[tuple[str, str], int] = {}

    def of(self, account: Account) -> tuple[int, int]:
        pid = self._endpoints.setdefault(account.endpoint, len(self._endpoints) + _SERVICE + 1)
        return pid, self._workers.setdefault((account.endpoint, account.worker), len(self._workers) + 1)

    def names(self) -> Iterator[Event]:
        yield _named("process_name", _SERVICE, 0, "service")
        for endpoint, pid in self._endpoints.items():
            yield _named("process_name", pid, 0, f"endpoint {endpoint}")
        for (endpoint, worker), tid in self._workers.items():
            yield _named("thread_name", self._endpoints[endpoint], tid, f"worker {worker}")


def _named(what: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": {"name": name}}


def _events(account: Account, places: _Places, begin: float) -> Iterator[Event]:
    yield from _at_service(account, begin)
    passed = list(spans(account))
    if not passed:
        return
    pid, tid = places.of(account)
    colour = {"cname": _COLOURS[account.state]} if account.state in _COLOURS else {}
    yield _slice(account.function, "task", (passed[0][1], passed[-1][2]), (pid, tid, begin)) | colour | {"args": _details(account)}
    for phase, start, end in passed:
        yield _slice(_PHASES[phase], phase, (start, end), (pid, tid, begin))


def _slice(name: str, category: str, span: tuple[float, float], where: tuple[int, int, float]) -> Event:
    pid, tid, begin = where
    start = _us(span[0] - begin)
    return {"ph": "X", "name": name or "task", "cat": category, "pid": pid, "tid": tid, "ts": start, "dur": max(0, _us(span[1] - begin) - start)}


def _at_service(account: Account, begin: float) -> Iterator[Event]:
    at = account.timeline
    for name, start, end in (("in the service's hands", "accepted", "finished"), ("queued", "committed", "dispatched")):
        if at.get(start) and at.get(end):
            common = {"name": name, "cat": "service", "id": account.task_id, "pid": _SERVICE, "tid": 0}
            yield {**common, "ph": "b", "ts": _us(at[start] - begin), "args": {"function": account.function, "state": account.state}}
            yield {**common, "ph": "e", "ts": max(_us(at[start] - begin), _us(at[end] - begin))}


def _details(account: Account) -> dict[str, object]:
    found: dict[str, object] = {
        "task_id": account.task_id, "state": account.state, "attempt": account.attempt + 1, "bytes_through_service": account.through_service,
        "bytes_read_from_stores": account.read, "bytes_written_to_stores": account.written}
    return found | ({"reason": account.reason} if account.reason else {})


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


