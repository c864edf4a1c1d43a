"""A task of a campaign: what was asked, what came, and when each stage was passed."""

from __future__ import annotations

import math
from typing import Any

from attrs import define, field

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
    _lazy: bool = field(default=False, alias="lazy", repr=False)

    @property
    def value(self) -> Any:
        """What the method returned.

        Raises:
            DataLostError: it is not in its store any more.
        """
        if self._lazy:
            value, started, ended = self._value
            self.timestamps.update(compute_started=started, compute_ended=ended)
            self._value, self._lazy = value, False
        return self._value

    @property
    def failure(self) -> str:
        """What went wrong, in a line; empty where nothing did."""
        return "" if self.exception is None else f"{type(self.exception).__name__}: {self.exception}"

    def seconds(self, first: str, last: str) -> float:
        """From one stage to another; NaN where one of them was not passed."""
        stamps = self.timestamps
        return stamps[last] - stamps[first] if first in stamps and last in stamps else math.nan

    def settle(self, settled: Any, *, lazy: bool) -> None:
        """Take what the worker gave: ``(value, started, ended)``, or a proxy of it."""
        self.success = True
        self._value, self._lazy = settled, True
        if not lazy:
            self.value  # noqa: B018  reading takes it apart

    def fail(self, exception: BaseException) -> None:
        """Take what was raised."""
        self.success, self.exception = False, exception
