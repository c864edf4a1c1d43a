"""The ledger check itself: every kind of broken promise is named, and nothing else is."""

from __future__ import annotations

import pytest

from tests.faults.ledger import Promise, Remains, Story, value_of, violations

GOOD = {"submitted": 1, "acknowledged": {"a"}, "tasks": {"a"}, "states": [(0, "QUEUED"), (0, "SENT"), (0, "SUCCEEDED")], "value": value_of(7)}


def judged(runs: int = 1, remains: dict[str, int] | None = None, promise: Promise = Promise(), **changes: object) -> list[str]:  # noqa: B008 - frozen
    return violations({7: Story(**{**GOOD, **changes})}, {7: runs}, Remains(remains or {}), promise)  # type: ignore[arg-type]


@pytest.mark.parametrize(("runs", "changes"), [
    (1, {}),
    (1, {"states": [(0, "SENT"), (0, "QUEUED"), (1, "SENT"), (1, "SUCCEEDED")]}),
    (0, {"acknowledged": set(), "tasks": set(), "states": []}),
    (1, {"states": [(0, "SENT"), (0, "LOST")], "value": None}),
    (0, {"acknowledged": set(), "states": [(0, "LOST")]}),
    (1, {"pushed": {"SUCCEEDED"}}),
])
def test_what_was_promised_is_no_violation(runs: int, changes: dict[str, object]) -> None:
    assert judged(runs, **changes) == []


@pytest.mark.parametrize(("runs", "changes", "words"), [
    (1, {"tasks": {"a", "b"}}, "more than one id"),
    (1, {"acknowledged": {"a", "b"}}, "more than one id"),
    (1, {"tasks": set()}, "the service has nothing"),
    (2, {}, "ran 2 times"),
    (0, {}, "without having run"),
    (1, {"value": 3}, "has the value 3"),
    (1, {"states": [(0, "SENT")]}, "ended SENT"),
    (1, {"states": [(0, "LOST"), (0, "SUCCEEDED")]}, "more than one ending"),
    (1, {"states": [(0, "SUCCEEDED"), (0, "SENT"), (0, "SUCCEEDED")]}, "go from SUCCEEDED to SENT"),
    (1, {"states": [(1, "SENT"), (0, "SENT"), (0, "SUCCEEDED")]}, "from attempt 1 to 0"),
    (1, {"pushed": {"LOST"}}, "more than one ending"),
    (1, {"acknowledged": set(), "tasks": set(), "states": []}, "not known to the service"),
])
def test_a_broken_promise_is_named(runs: int, changes: dict[str, object], words: str) -> None:
    assert any(words in text for text in judged(runs, **changes)), judged(runs, **changes)


def test_what_is_left_and_what_is_lost_is_counted() -> None:
    assert judged(remains={"queue": 0, "journal": 2}) == ["left at the end: 2 in journal"]
    lost = {"states": [(0, "LOST")], "value": None}
    assert judged(promise=Promise(lost_at_most=0), **lost) == ["1 tasks were lost, 0 at most may be"]
    assert violations({}, {3: 1}, Remains({}), Promise()) == ["key 3 ran but was never submitted"]
