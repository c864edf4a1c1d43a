"""Why a task is where it is: what the service and its endpoint know of it, put into words. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

# (phase, from station, to station, by whose clock): phases of one clock only, so that two clocks are never compared
PHASES = (
    ("submitting", "accepted", "committed"),
    ("queued", "committed", "dispatched"),
    ("at the endpoint, waiting", "received", "started"),
    ("fetching arguments", "started", "called"),
    ("running", "called", "evaluated"),
    ("storing the result", "evaluated", "ended"),
    ("leaving the endpoint", "ended", "returned"),
)
Facts = Mapping[str, Any]


@frozen
class Explanation:
    """``str()`` says it in words, ``data`` has what they were made from."""

    text: str
    data: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return self.text


def explanation(facts: Facts) -> Explanation:
    """The facts in words."""
    return Explanation("\n".join(_lines(facts)), {**facts, "phases_s": dict(phases(facts.get("timeline") or {}))})


def phases(timeline: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """(phase, seconds) of those that the task went through."""
    for name, begin, end in PHASES:
        if begin in timeline and end in timeline:
            yield name, max(0.0, timeline[end] - timeline[begin])


def _lines(facts: Facts) -> Iterator[str]:
    yield f"{facts.get('function') or 'task'} ({facts.get('task_id')}) is {facts.get('state')}: {_why(facts)}"
    yield from _tries(facts)
    if facts.get("deadline") and facts.get("now") and facts.get("state") in ("WAITING", "QUEUED", "SENT"):
        yield f"Deadline: it ends EXPIRED if it has not started within {_seconds(max(0.0, facts['deadline'] - facts['now']))}."
    if facts.get("priority"):
        yield f"Priority: {facts['priority']}."
    if facts.get("walltime_s"):
        yield f"Walltime: it is stopped after {facts['walltime_s']:g} s."
    spent = [f"{name} {_seconds(seconds)}" for name, seconds in phases(facts.get("timeline") or {})]
    if spent:
        yield "Time: " + ", ".join(spent) + "."
    yield from _data(facts)
    endpoint = facts.get("endpoint") or {}
    here, there = _minor(facts.get("client_python", "")), _minor(endpoint.get("python", ""))
    if there:
        differs = f"; it was submitted from {here}: functions may not load there." if here and here != there else "."
        yield f"Python: {endpoint['python']} at the endpoint{differs}"


def _why(facts: Facts) -> str:
    state = facts.get("state")
    endpoint = facts.get("endpoint") or {}
    name = endpoint.get("name") or endpoint.get("id", "")
    if state == "PENDING":
        return "the service has not acknowledged it yet."
    if state == "WAITING":
        waits = [f"{need['task_id']} ({need['state']})" for need in facts.get("needs", ()) if need["state"] != "SUCCEEDED"]
        return f"it needs the results of {', '.join(waits) or 'tasks that have just ended'}."
    if state == "QUEUED":
        return _queued(facts, endpoint, name)
    if state == "SENT":
        return _sent(facts, endpoint, name)
    where = f" at {name}" if name else ""
    return _ended(str(state), facts, where)


def _queued(facts: Facts, endpoint: Facts, name: str) -> str:
    queue = facts.get("queue") or {}
    before = queue.get("position")
    place = f"{before} before it, {queue.get('length', 0)} in the queue" if before is not None else "it is about to be sent"
    if endpoint.get("deleted"):
        return "its endpoint was deleted."
    due, now = facts.get("not_before"), facts.get("now")
    if due and now and due > now:
        return f"its next attempt is due in {_seconds(due - now)} (backoff after the last one)."
    if not endpoint.get("online"):
        return f"endpoint {name!r} is offline{_since(endpoint, facts)}; {place}. Start it: fedproxy endpoint start {name}"
    return f"endpoint {name!r} has as much as it takes: {endpoint.get('in_flight', 0)} tasks for {endpoint.get('workers', 0)} workers; {place}."


def _sent(facts: Facts, endpoint: Facts, name: str) -> str:
    if not endpoint.get("online"):
        return f"it was sent to endpoint {name!r}, which is offline{_since(endpoint, facts)}: it may have started, and is LOST if the endpoint stays away."
    place = facts.get("place")
    if place is None:
        return f"it was sent to endpoint {name!r}, which has not said yet how far it is."
    if place["at"] == "running":
        return f"it runs at {name!r} on {place['worker']} since {_seconds(place['seconds'])}."
    if place["at"] == "waiting":
        ahead = f" behind {place['position']} others" if place["position"] else ""
        return f"it waits at {name!r} for a free worker{ahead}: {endpoint.get('workers', 0)} workers are busy."
    words = {
        "blocked": f"it waits at {name!r} until the cores, memory or accelerators that it asks for are free.",
        "asleep": f"it waits at {name!r} for its function, which is on the way.",
        "ended": f"it has ended at {name!r}; its result is on the way.",
        "handed": f"the engine of {name!r} has it.",
        "unknown": f"it is on its way to {name!r}."}
    return words.get(place["at"], f"at {name!r}: {place['at']}.")


def _ended(state: str, facts: Facts, where: str) -> str:
    reason = facts.get("reason") or next((a["reason"] for a in reversed(facts.get("attempts", ())) if a["reason"]), "")
    words = {
        "SUCCEEDED": f"it ran{where} on {facts['worker']}." if facts.get("worker") else "its value was known: the call was memoized.",
        "FAILED": f"the function raised{where}: {reason}",
        "CANCELLED": reason or "it was cancelled.",
        "LOST": f"{reason}. It may have run; retries_on_loss=1 runs such a task again.",
        "EXPIRED": reason or "its time was up.",
        "DEAD": f"it killed its worker too often: {reason}"}
    return words.get(state, state)


def _tries(facts: Facts) -> Iterator[str]:
    retries = facts.get("retries") or {}
    if retries.get("allowed") or retries.get("allowed_on_loss"):
        yield (f"Retries: {retries['failures']} of {retries['allowed']} after exceptions, "
               f"{retries['losses']} of {retries['allowed_on_loss']} after losses.")
    last = facts.get("attempt", 0)
    for each in facts.get("attempts", ()):
        if each["reason"] and (each["attempt"] < last or facts.get("state") in ("QUEUED", "SENT")):
            yield f"  attempt {each['attempt'] + 1} ended {each['state']}: {each['reason']}"


def _data(facts: Facts) -> Iterator[str]:
    stored = facts.get("stored_arguments") or ()
    for ref in stored:
        yield f"Argument of {ref['bytes']:,} bytes went as a proxy through {ref['store']}."
    moved = facts.get("bytes") or {}
    if moved:
        yield (f"Bytes: {moved['arguments']:,} of arguments and {moved['result']:,} of result through the service; "
               f"{moved['read']:,} read from and {moved['written']:,} written to stores.")


def _since(endpoint: Facts, facts: Facts) -> str:
    seen, now = endpoint.get("last_seen"), facts.get("now")
    if not seen:
        return " and was never there"
    at = datetime.datetime.fromtimestamp(seen).astimezone().strftime("%H:%M:%S")
    return f" since {at}" + (f" ({_seconds(max(0.0, now - seen))} ago)" if now else "")


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
