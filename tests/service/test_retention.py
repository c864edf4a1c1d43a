"""What ended long ago is forgotten; what is not over never is, nor what ended lately, whatever the clock does."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from fedproxy.config.service import ServiceConfig
from fedproxy.protocol.ids import new_task_id
from fedproxy.protocol.states import TaskState
from fedproxy.service.core import Core
from fedproxy.service.ledger import Transaction
from fedproxy.service.retention import Retention
from fedproxy.service.rows import Ending, LiveTask

KEEP_S = 1000.0
NONE = (0.0, 0.0, 0.0, 0.0)


def task(seq: int) -> LiveTask:
    return LiveTask(seq, new_task_id(), "me", "g", b"s", "e", TaskState.QUEUED, 0.0, 0.0, 1, payload=b"x", memo=b"%16d" % seq)


def left(tmp_path: Path, ages: list[float | None], during: float = 0.0, monkeypatch: pytest.MonkeyPatch | None = None) -> set[int]:
    """The places of tasks of these ages (None: not over) that a clean-up leaves, if the wall clock has jumped by ``during`` meanwhile."""
    async def run() -> set[int]:
        core = Core.open(ServiceConfig(tmp_path, retention_s=KEEP_S))
        tasks = [task(i) for i in range(len(ages))]
        core.ledger.apply(Transaction(inserts=tasks))
        now = time.time()
        core.ledger.apply(Transaction(endings=[
            Ending(each, TaskState.SUCCEEDED, each.seq + 1, now - age, NONE, (0, 0), b"v") for each, age in zip(tasks, ages, strict=True) if age is not None]))
        retention = Retention(core)
        real = time.time
        if monkeypatch is not None:
            monkeypatch.setattr("fedproxy.service.retention.time.time", lambda: real() + during)
        retention.forget()
        await asyncio.wait_for(core.commit.flush(), 10)
        found = {seq for (seq,) in core.ledger.rows("SELECT seq FROM tasks")}
        assert all((core.ledger.recall("me", b"%16d" % i) is not None) == (i in found and ages[i] is not None) for i in range(len(ages)))
        await core.close()
        return found

    return asyncio.run(run())


def test_only_what_ended_long_ago_goes(tmp_path: Path) -> None:
    assert left(tmp_path, [None, KEEP_S + 60, 10 * KEEP_S, KEEP_S - 60, 0.0]) == {0, 3, 4}


def test_endings_are_counted_on_when_all_are_old(tmp_path: Path) -> None:
    """A client that has read up to the last one would not be told of any that is counted from the beginning."""
    assert left(tmp_path, [KEEP_S + 60, KEEP_S + 60, None, KEEP_S + 60]) == {2, 3}

    async def highest() -> tuple[int, int]:
        core = Core.open(ServiceConfig(tmp_path))
        found = core.seq, core.done_seq
        await core.close()
        return found

    assert asyncio.run(highest()) == (3, 4)


@pytest.mark.parametrize("step_s", [3600.0, 10 * 365 * 86400.0, -3600.0])
def test_a_clock_that_jumps_makes_nothing_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    assert left(tmp_path, [None, 0.0, KEEP_S - 60], step_s, monkeypatch) == {0, 1, 2}
