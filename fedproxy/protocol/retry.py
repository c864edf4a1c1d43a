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


def after_attempt(state: TaskState, started: bool, spec: Spec, tries: Tries, *, worth_it: bool = True) -> TaskState | Again:
    """The terminal state, or that the task is to run again.

    Guarantees: an attempt that never started costs nothing; one that may have started and was lost is repeated at most
    ``retries_on_loss`` times, and three losses make the task DEAD however many are allowed; an exception is repeated at most ``retries`` times,
    and not at all where the worker says that it is none of ``retry_on``.
    """
    if state is TaskState.LOST:
        if not started:
            return Again(tries, new_attempt=False)
        losses = tries.losses + 1
        if losses >= DEATHS_TO_DEAD and spec.retries_on_loss >= DEATHS_TO_DEAD:
            return TaskState.DEAD
        return Again(Tries(tries.failures, losses)) if losses <= spec.retries_on_loss else TaskState.LOST
    if state is TaskState.FAILED and worth_it and tries.failures < spec.retries:
        return Again(Tries(tries.failures + 1, tries.losses))
    return state


def backoff_s(spec: Spec, tries: Tries, dice: float) -> float:
    """Seconds to wait before the next attempt, for ``dice`` from [0, 1).

    Exponential with full jitter: anywhere between nothing and a bound that doubles with each try, so that what failed together does not come
    back together. Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    used = tries.failures + tries.losses
    if used == 0:
        return 0.0
    doublings = min(used - 1, 60)
    return dice * min(spec.retry_backoff_most_s, spec.retry_backoff_s * 2.0**doublings)


def names_of(kind: type[BaseException]) -> tuple[str, ...]:
    """The full names of an exception class and of all that it derives from: what ``retry_on`` is matched against."""
    return tuple(f"{each.__module__}.{each.__qualname__}" for each in kind.__mro__)


def worth_another_run(exception: BaseException, retry_on: tuple[str, ...]) -> bool:
    """Whether a task that raised this may run again. Classes are known by name: one that came by value is another object here than at the client."""
    return not retry_on or not set(retry_on).isdisjoint(names_of(type(exception)))
