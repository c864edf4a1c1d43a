"""The state table of a task."""

from __future__ import annotations

import pytest

from fedproxy.protocol.messages import Spec
from fedproxy.protocol.retry import Again, Tries, after_attempt
from fedproxy.protocol.states import MOVES, IllegalMoveError, TaskState, move


def test_a_terminal_state_is_never_left() -> None:
    for state in TaskState:
        if state.terminal:
            for other in TaskState:
                with pytest.raises(IllegalMoveError, match=state.name):
                    move(state, other)


def test_every_task_can_reach_every_terminal_state_it_should() -> None:
    assert {s for s in TaskState if s.terminal} <= MOVES[TaskState.SENT]
    assert move(TaskState.QUEUED, TaskState.SENT) is TaskState.SENT
    with pytest.raises(IllegalMoveError):
        move(TaskState.WAITING, TaskState.SUCCEEDED)


@pytest.mark.parametrize(("state", "started", "spec", "tries", "expected"), [
    (TaskState.SUCCEEDED, True, Spec(b"", ""), Tries(), TaskState.SUCCEEDED),
    (TaskState.LOST, True, Spec(b"", ""), Tries(), TaskState.LOST),
    (TaskState.LOST, False, Spec(b"", ""), Tries(), Again(Tries(), new_attempt=False)),
    (TaskState.LOST, True, Spec(b"", "", retries_on_loss=1), Tries(), Again(Tries(0, 1))),
    (TaskState.LOST, True, Spec(b"", "", retries_on_loss=1), Tries(0, 1), TaskState.LOST),
    (TaskState.LOST, True, Spec(b"", "", retries_on_loss=9), Tries(0, 2), TaskState.DEAD),
    (TaskState.FAILED, True, Spec(b"", "", retries=1), Tries(), Again(Tries(1, 0))),
    (TaskState.FAILED, True, Spec(b"", "", retries=1), Tries(1, 0), TaskState.FAILED),
    (TaskState.CANCELLED, True, Spec(b"", "", retries=1, retries_on_loss=1), Tries(), TaskState.CANCELLED),
])
def test_what_follows_an_attempt(state: TaskState, started: bool, spec: Spec, tries: Tries, expected: object) -> None:
    assert after_attempt(state, started, spec, tries) == expected
