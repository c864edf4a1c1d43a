"""What follows when an attempt ended without a value. Pure."""

from __future__ import annotations

from attrs import frozen

from fedproxy.protocol.messages import Spec
from fedproxy.protocol.states import TaskState

DEATHS_TO_DEAD = 3


@frozen
class Tries:
    """What a task has used up: attempts that raised, attempts that were lost."""

    failures: int = 0
    losses: int = 0


@frozen
class Again:
    """Queue the task once more. ``new_attempt`` is False where the last attempt certainly never started."""

    tries: Tries
    new_attempt: bool = True


def after_attempt(state: TaskState, started: bool, spec: Spec, tries: Tries) -> TaskState | Again:
    """The terminal state, or that the task is to run again.

    Guarantees: an attempt that never started costs nothing; one that may have started and was lost is repeated at most
    ``retries_on_loss`` times, and three losses make the task DEAD however many are allowed; an exception is repeated at most ``retries`` times.
    """
    if state is TaskState.LOST:
        if not started:
            return Again(tries, new_attempt=False)
        losses = tries.losses + 1
        if losses >= DEATHS_TO_DEAD and spec.retries_on_loss >= DEATHS_TO_DEAD:
            return TaskState.DEAD
        return Again(Tries(tries.failures, losses)) if losses <= spec.retries_on_loss else TaskState.LOST
    if state is TaskState.FAILED and tries.failures < spec.retries:
        return Again(Tries(tries.failures + 1, tries.losses))
    return state
