"""The states of a task and the moves between them.

Guarantee: a task reaches exactly one terminal state, and leaves none.
"""

from __future__ import annotations

from enum import IntEnum

from fedproxy.errors import FedproxyError


class TaskState(IntEnum):
    """Where a task is. Values at or above 10 are terminal."""

    QUEUED = 0
    """Durable at the service, not handed to the endpoint."""
    SENT = 1
    """Handed to the endpoint: may have started."""
    WAITING = 2
    """Durable at the service, held until the tasks whose results it needs have ended."""
    SUCCEEDED = 10
    FAILED = 11
    """The function raised."""
    CANCELLED = 12
    LOST = 13
    """May have started on a worker or machine that was lost."""
    EXPIRED = 14
    """Deadline or walltime passed."""
    DEAD = 15
    """Killed its worker too often."""

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return self >= FIRST_TERMINAL


FIRST_TERMINAL = 10

TERMINAL = frozenset(state for state in TaskState if state >= FIRST_TERMINAL)
MOVES: dict[TaskState, frozenset[TaskState]] = {
    # at once to SUCCEEDED: the value of the same call is known (memoization)
    TaskState.QUEUED: frozenset({TaskState.SENT, TaskState.CANCELLED, TaskState.EXPIRED, TaskState.FAILED, TaskState.SUCCEEDED}),
    # a task inherits the end of one that it needs
    TaskState.WAITING: TERMINAL - {TaskState.SUCCEEDED} | {TaskState.QUEUED},
    # back to QUEUED: redelivered because it never arrived, or tried again within its retries
    TaskState.SENT: TERMINAL | {TaskState.QUEUED},
    **{state: frozenset() for state in TERMINAL},
}


class IllegalMoveError(FedproxyError):
    """A task was asked to make a move that its state does not allow. Always a defect, never a user's mistake."""


def move(before: TaskState, after: TaskState) -> TaskState:
    """The state after a move.

    Raises:
        IllegalMoveError: the table has no such move.
    """
    if after not in MOVES[before]:
        raise IllegalMoveError(f"a task cannot go from {before.name} to {after.name}")
    return after
