"""How a job ends without an answer of its worker."""

from __future__ import annotations

import time

from fedproxy.endpoint.engines.base import Job
from fedproxy.errors import EndpointError
from fedproxy.protocol.messages import Outcome, Output
from fedproxy.protocol.states import TaskState
from fedproxy.serialize import serialize_exception


def refused(job: Job, error: EndpointError) -> tuple[Outcome, bytes]:
    """It failed with this error, never started, and is not worth another try here."""
    body = bytes(serialize_exception(error))
    times = (job.received, 0.0, 0.0, time.time())
    return Outcome(job.task.id, job.task.attempt, int(TaskState.FAILED), len(body), times, started=False, again=False, reason=str(error)), body


def unanswered(
    job: Job, state: TaskState, reason: str, *, started: bool = True, output: Output | None = None, body: bytes = b""
) -> tuple[Outcome, bytes]:
    """It ended in this state. ``body``: the exception, if not just the reason."""
    body = body or reason.encode()
    times = (job.received, 0.0, 0.0, time.time())
    return Outcome(job.task.id, job.task.attempt, int(state), len(body), times, started=started, output=output), body
