"""What is tried again, and when."""

from __future__ import annotations

import pytest

from fedproxy.protocol.messages import Spec
from fedproxy.protocol.retry import Again, Tries, after_attempt, backoff_s, worth_another_run
from fedproxy.protocol.states import TaskState

SPEC = Spec(b"", "", retries=5, retry_backoff_s=0.5, retry_backoff_most_s=3.0)


@pytest.mark.parametrize(("failures", "most"), [(0, 0.0), (1, 0.5), (2, 1.0), (3, 2.0), (4, 3.0), (5000, 3.0)])
def test_a_delay_lies_anywhere_below_a_bound_that_doubles_up_to_a_limit(failures: int, most: float) -> None:
    delays = [backoff_s(SPEC, Tries(failures), dice / 10) for dice in range(11)]
    assert delays == pytest.approx([most * dice / 10 for dice in range(11)])


def test_losses_and_exceptions_count_alike() -> None:
    assert backoff_s(SPEC, Tries(1, 1), 1.0) == backoff_s(SPEC, Tries(2, 0), 1.0)


class Own(ConnectionError):
    pass


@pytest.mark.parametrize(("exception", "retry_on", "worth"), [
    (ValueError(), (), True),
    (ConnectionResetError(), ("builtins.ConnectionError",), True),
    (Own(), ("builtins.OSError", "builtins.KeyError"), True),
    (Own(), (f"{Own.__module__}.Own",), True),
    (ValueError(), ("builtins.ConnectionError",), False),
    (ValueError(), ("elsewhere.ValueError",), False),
])
def test_an_exception_is_matched_by_the_names_of_its_classes(exception: Exception, retry_on: tuple[str, ...], worth: bool) -> None:
    assert worth_another_run(exception, retry_on) is worth


def test_an_exception_that_is_not_worth_it_ends_the_task() -> None:
    assert after_attempt(TaskState.FAILED, True, SPEC, Tries(), worth_it=False) is TaskState.FAILED
    assert after_attempt(TaskState.FAILED, True, SPEC, Tries(), worth_it=True) == Again(Tries(1))
