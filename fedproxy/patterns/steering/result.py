"""A task of a campaign: what was asked, what came, and when each stage was passed."""

from __future__ import annotations

import math
from typing import Any

from attrs import define, field

from fedproxy.proxy import Proxy, extract

STAGES = (
    "created",  # client: asked for
    "submitted",  # client: given to fedproxy, inputs written to a store where they are large
    "accepted",  # service
    "dispatched",  # service: sent to the endpoint
    "input_received",  # endpoint
    "started",  # worker: inputs not yet read
    "compute_started",  # worker: inputs read
    "compute_ended",  # worker: result not yet written
    "result_sent",  # worker: result written
    "finished",  # service
    "result_received",  # client: here, and handed to its topic
)


@define
class Result:
    """One task. ``value`` is read from its store when it is first used.

    ``timestamps`` are seconds since the epoch by stage (see ``STAGES``), each by the clock of the machine that passed it.
    """

    task_id: str
    """The campaign's own id, the same over retries and restarts."""
    method: str
    topic: str = "default"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(factory=dict)
    task_info: dict[str, Any] = field(factory=dict)
    """Whatever the submitter wants to find again; JSON."""
    priority: int = 0
    max_retries: int = 0
    retries: int = 0
    success: bool | None = None
    """None while it runs."""
    cancelled: bool = False
    intermediate: bool = False
    """One of several values of a generator; the last result of the task is not."""
    exception: BaseException | None = None
    timestamps: dict[str, float] = field(factory=dict)
    worker: str = ""
    _value: Any = field(default=None, alias="value", repr=False)

    @property
    def value(self) -> Any:
        """What the method returned; read from its store when it is first asked for.

        Raises:
            ProxyResolveError: it is not in its store any more.
        """
        if isinstance(self._value, Proxy):
            self._value = extract(self._value)
        return self._value

    @property
    def failure(self) -> str:
        """What went wrong, in a line; empty where nothing did."""
        return "" if self.exception is None else f"{type(self.exception).__name__}: {self.exception}"

    def seconds(self, first: str, last: str) -> float:
        """From one stage to another; NaN where one of them was not passed."""
        stamps = self.timestamps
        return stamps[last] - stamps[first] if first in stamps and last in stamps else math.nan

    def succeed(self, value: Any) -> None:
        """Take what was returned, or a proxy of it."""
        self.success, self._value = True, value

    def fail(self, exception: BaseException) -> None:
        """Take what was raised."""
        self.success, self.exception = False, exception
