"""What became of the tasks of a run: accounts from the service, and figures over them. All but `collect` is pure."""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from fedproxy.errors import FedproxyError

if TYPE_CHECKING:
    from fedproxy.dispatch.client import Client

_TRACEBACKS = 100
_TRACEBACK_CHARACTERS = 20_000
PARTS = (
    ("t_s", "service", "accepted to dispatched, waiting in the queue included"),
    ("t_f", "forwarder and network", "to the endpoint and back"),
    ("t_e", "endpoint", "the agent, and waiting for a worker"),
    ("t_d", "data", "fetching arguments and storing the result"),
    ("t_w", "worker", "the function itself"),
)


@frozen
class Account:
    """One task of a run."""

    task_id: str
    function: str
    endpoint: str
    state: str
    attempt: int
    worker: str
    reason: str
    timeline: dict[str, float]
    """See `fedproxy.protocol.timeline`."""
    sent: int
    """Bytes of arguments that passed the service; `result` likewise."""
    result: int
    read: int
    """Bytes that the worker read from stores."""
    written: int
    traceback: str = field(default="", repr=False)

    @property
    def through_service(self) -> int:
        """Payload bytes that passed the service."""
        return self.sent + self.result

    @property
    def through_stores(self) -> int:
        """Bytes that the worker moved through stores."""
        return self.read + self.written


def collect(client: Client, groups: Iterable[str]) -> list[Account]:
    """The accounts of all tasks of these groups; the first failures come with their tracebacks."""
    accounts: list[Account] = []
    left = _TRACEBACKS
    for group in groups:
        for entry in client.get_task_accounts(group):
            wanted = entry["state"] == "FAILED" and left > 0
            left -= wanted
            accounts.append(_account(entry, _traceback(client, entry["task_id"]) if wanted else ""))
    return accounts


def _account(entry: dict[str, Any], text: str) -> Account:
    moved = entry["bytes"]
    return Account(
        entry["task_id"], entry["function"], entry["endpoint"], entry["state"], entry["attempt"], entry["worker"], entry["reason"], entry["timeline"],
        moved["arguments"], moved["result"], moved["read"], moved["written"], text)


def _traceback(client: Client, task_id: str) -> str:
    try:
        with suppress(FedproxyError):
            client.get_result(task_id)
    except Exception as exc:  # noqa: BLE001 - whatever the task raised is what is asked for
        return "".join(traceback.format_exception(exc))[-_TRACEBACK_CHARACTERS:]
    return ""


def breakdown(account: Account) -> dict[str, float] | None:
    """Where a task's time went, in seconds, by the parts of funcX (TPDS 2022), Fig. 3, with the data apart; None if it did not run to its end.

    Only durations by one clock are used: what the endpoint says of its own time is taken from what the service saw pass.
    """
    at = account.timeline
    if not {"accepted", "dispatched", "received", "started", "called", "evaluated", "ended", "returned", "finished"} <= at.keys():
        return None
    inside = at["returned"] - at["received"]
    working = at["ended"] - at["started"]
    function = at["evaluated"] - at["called"]
    spent = {
        "t_s": at["dispatched"] - at["accepted"], "t_f": at["finished"] - at["dispatched"] - inside, "t_e": inside - working,
        "t_d": working - function, "t_w": function}
    return {name: max(0.0, seconds) for name, seconds in spent.items()}


def quantile(values: Sequence[float], q: float) -> float:
    """The nearest-rank quantile of sorted values."""
    return values[min(len(values) - 1, int(q * len(values)))] if values else 0.0


@frozen
class Latency:
    """One part of the time, over all tasks, in seconds."""

    name: str
    what: str
    meaning: str
    mean: float
    median: float
    p95: float
    most: float


def latencies(accounts: Iterable[Account]) -> list[Latency]:
    """Where the time of the tasks went."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for account in accounts:
        for name, seconds in (breakdown(account) or {}).items():
            values[name].append(seconds)
    found = []
    for name, what, meaning in PARTS:
        ordered = sorted(values[name])
        if ordered:
            found.append(Latency(name, what, meaning, sum(ordered) / len(ordered), quantile(ordered, 0.5), quantile(ordered, 0.95), ordered[-1]))
    return found


@frozen
class Line:
    """The tasks of one function at one endpoint."""

    function: str
    endpoint: str
    states: dict[str, int]
    run_s: tuple[float, float, float]
    """Of the function alone: median, p95, sum."""
    retried: int
    through_service: int
    through_stores: int


def table(accounts: Iterable[Account]) -> list[Line]:
    """By function and endpoint; those that took the longest first."""
    groups: defaultdict[tuple[str, str], list[Account]] = defaultdict(list)
    for account in accounts:
        groups[account.function, account.endpoint].append(account)
    return sorted((_line(*names, of) for names, of in groups.items()), key=lambda line: -line.run_s[2])


def _line(function: str, endpoint: str, accounts: list[Account]) -> Line:
    states: defaultdict[str, int] = defaultdict(int)
    for account in accounts:
        states[account.state] += 1
    runs = sorted(t["evaluated"] - t["called"] for t in (a.timeline for a in accounts) if "evaluated" in t and "called" in t)
    return Line(
        function, endpoint, dict(states), (quantile(runs, 0.5), quantile(runs, 0.95), sum(runs)), sum(a.attempt > 0 for a in accounts),
        sum(a.through_service for a in accounts), sum(a.through_stores for a in accounts))


def spans(account: Account) -> Iterator[tuple[str, float, float]]:
    """(phase, begin, end) on the worker, by the endpoint's clock; empty if it never came to one."""
    at = account.timeline
    for phase, begin, end in (("fetch", "started", "called"), ("run", "called", "evaluated"), ("store", "evaluated", "ended")):
        if begin in at and end in at and at[begin] and at[end]:
            yield phase, at[begin], max(at[begin], at[end])
    if "called" not in at and "started" in at and "ended" in at:
        yield "run", at["started"], max(at["started"], at["ended"])
