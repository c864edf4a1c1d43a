"""The service's queues: by priority, fair between users, and cheap to change."""

from __future__ import annotations

import itertools
import random

import pytest

from fedproxy.protocol.ids import new_task_id
from fedproxy.protocol.states import TaskState
from fedproxy.service.queues import Queues
from fedproxy.service.rows import LiveTask

_places = itertools.count(1)


def task(priority: int = 0, user: str = "me", payload: bytes | None = b"x") -> LiveTask:
    return LiveTask(next(_places), new_task_id(), user, "g", b"s", "e", TaskState.QUEUED, 0.0, 0.0, 1, payload=payload, priority=priority)


def drain(queues: Queues, most: int = 3) -> list[int]:
    """All places in the order in which they come, a few at a time."""
    taken: list[int] = []
    while batch := queues.take("e", most):
        taken += [entry if isinstance(entry, int) else entry.seq for entry in batch]
    assert queues.length("e") == 0
    return taken


def test_higher_first_and_equals_in_order_whether_in_memory_or_on_disk() -> None:
    queues = Queues()
    tasks = [task(priority, payload=b"x" if i % 2 else None) for i, priority in enumerate([0, 5, 0, -1, 5, 7, 0])]
    for each in tasks:
        queues.append(each)
    assert queues.length("e") == 7
    assert drain(queues) == [tasks[i].seq for i in (5, 1, 4, 0, 2, 6, 3)]


def test_what_comes_back_goes_before_its_equals_and_not_before_its_betters() -> None:
    queues = Queues()
    high, low, back = task(1), task(0), task(0)
    queues.append(low)
    queues.append(high)
    queues.put_back(back)
    assert drain(queues) == [high.seq, back.seq, low.seq]


def test_users_take_turns_whatever_their_priorities() -> None:
    queues = Queues()
    noisy = [task(100, "noisy") for _ in range(50)]
    for each in noisy:
        queues.append(each)
    honest = [task(0, "honest") for _ in range(3)]
    for each in honest:
        queues.append(each)
    order = drain(queues)
    assert [order.index(each.seq) for each in honest] == [1, 3, 5]
    assert [place for place in order if place not in {each.seq for each in honest}] == [each.seq for each in noisy]


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_of_changes_leaves_the_right_tasks_in_the_right_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a model that sorts a list; swept early, so that the sweeping is tested too."""
    monkeypatch.setattr("fedproxy.service.queues._SWEEP_FROM", 10)
    dice = random.Random(seed)
    queues, model = Queues(), []
    for _ in range(600):
        what = dice.random()
        if what < 0.4 or not model:
            fresh = task(dice.randint(-2, 2), payload=dice.choice([None, b"x"]))
            queues.append(fresh)
            model.append((-fresh.priority, len(model), fresh))
        elif what < 0.65:
            at = dice.randrange(len(model))
            negated, _, each = model.pop(at)
            priority = dice.randint(-2, 2)
            queues.move(each, priority)
            if -negated == priority:
                model.insert(at, (negated, 0, each))
            else:
                model.append((-priority, 0, each))
        elif what < 0.85:
            negated, _, each = model.pop(dice.randrange(len(model)))
            queues.remove(each)
        else:
            model.sort(key=lambda entry: entry[0])
            expected, model = model[:3], model[3:]
            taken = queues.take("e", 3)
            assert [entry if isinstance(entry, int) else entry.seq for entry in taken] == [each.seq for _, _, each in expected]
        assert queues.length("e") == len(model)
    assert drain(queues) == [each.seq for _, _, each in sorted(model, key=lambda entry: entry[0])]


def test_a_task_that_is_taken_out_before_it_arrives_never_comes() -> None:
    queues = Queues()
    early, other = task(), task()
    queues.remove(early)
    queues.append(early)
    assert queues.length("e") == 0
    queues.append(other)
    assert drain(queues) == [other.seq]


def test_nothing_is_kept_of_what_was_taken_out() -> None:
    queues = Queues()
    tasks = [task(payload=b"x" * 100) for _ in range(5000)]
    for each in tasks:
        queues.append(each)
    for each in tasks[10:]:
        queues.remove(each)
    line = queues._lines["e"]
    assert line.entries <= 1_000 + 10, "most entries that do not count are swept out"
    assert drain(queues) == [each.seq for each in tasks[:10]]
    assert (queues._hot_tasks, queues._hot_bytes, queues._gone, queues._moved) == (0, 0, {}, {})
