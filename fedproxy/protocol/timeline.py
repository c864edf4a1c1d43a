"""The stations of a task, in the order of `Done.times`.

Each time is seconds since the epoch by the clock of the machine named; times of two machines are shown side by side, never subtracted to decide.
"""

from __future__ import annotations

from fedproxy.protocol.messages import Done

STATIONS = (
    "submitted",  # client: submit() was called
    "accepted",  # service: request read
    "committed",  # service: durable
    "dispatched",  # service: handed to the endpoint's connection
    "received",  # endpoint: read by the agent
    "started",  # endpoint: the worker began (arguments not yet resolved)
    "ended",  # endpoint: the worker is done
    "returned",  # endpoint: the result left the agent
    "finished",  # service: result read
)
"""``called`` (the worker has the arguments and calls the function) and ``evaluated`` (it returned) lie between ``started`` and ``ended``."""
_PLACE = {name: place for place, name in enumerate((*STATIONS[:6], "called", "evaluated", *STATIONS[6:]))}


def stations(done: Done) -> dict[str, float]:
    """All stations of a task that it passed, in order."""
    found = timeline(done.times)
    _, called, evaluated = done.ran
    return dict(sorted({**found, **({"called": called, "evaluated": evaluated} if called else {})}.items(), key=lambda entry: _PLACE[entry[0]]))


def timeline(times: tuple[float, ...]) -> dict[str, float]:
    """Station → time, without those that the task did not pass."""
    return {name: value for name, value in zip(STATIONS, times, strict=False) if value}
