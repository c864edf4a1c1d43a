"""Group commit on a disk that is full, and on one that is full to the last page."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from fedproxy.config.reserve import Reserve
from fedproxy.errors import FedproxyError, ServiceFullError
from fedproxy.protocol.ids import new_task_id
from fedproxy.protocol.states import TaskState
from fedproxy.service.commit import Duplicates, GroupCommit
from fedproxy.service.ledger import Ledger, Transaction
from fedproxy.service.rows import LiveTask


class FullLedger(Ledger):
    """Refuses as SQLite does: inserts while ``full``, everything while ``choked``."""

    full = choked = False

    def apply(self, work: Transaction) -> Duplicates:
        if self.choked or (self.full and work.inserts):
            raise sqlite3.OperationalError("database or disk is full")
        return super().apply(work)


def test_a_full_disk_refuses_what_is_new_and_owes_the_rest(tmp_path: Path) -> None:
    async def run() -> None:
        ledger = FullLedger(tmp_path / "service.db")
        commit = GroupCommit(ledger, Reserve(tmp_path / "reserve", 4096))
        answers: list[Duplicates | FedproxyError] = []
        written: list[str] = []
        ledger.choked = True
        commit.next.other.append(lambda _connection: written.append("other"))
        commit.insert_then(answers.append)
        commit.then(lambda: written.append("after"))
        while not answers:
            await asyncio.sleep(0.01)
        assert isinstance(answers[0], ServiceFullError)
        assert written == [], "nothing is said to be durable that is not"
        ledger.choked = False
        await asyncio.wait_for(commit.flush(), 5)
        assert written == ["other", "after"], "what was owed is written unaided, and then told"
        await commit.close()
        ledger.close()

    asyncio.run(run())


def test_a_callback_that_fails_holds_up_no_other(tmp_path: Path) -> None:
    async def run() -> None:
        ledger = Ledger(tmp_path / "service.db")
        commit = GroupCommit(ledger, Reserve(tmp_path / "reserve", 4096))
        reached: list[str] = []
        commit.then(lambda: reached.append(str(1 / 0)))
        commit.then(lambda: reached.append("second"))
        await asyncio.wait_for(commit.flush(), 5)
        assert reached == ["second"]
        await commit.close()
        ledger.close()

    asyncio.run(run())


def test_a_reserve_is_real_space_that_can_be_given_up_and_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    reserve = Reserve(path, 64 * 1024)
    assert reserve.held
    assert path.stat().st_blocks * 512 >= 64 * 1024
    reserve.give_up()
    assert not reserve.held
    assert not path.exists()
    assert reserve.take()


def a_task(seq: int) -> LiveTask:
    return LiveTask(seq, new_task_id(), "me", "g", b"s", "e", TaskState.QUEUED, 0.0, 0.0, 1, payload=b"x")


def test_what_nobody_waits_for_holds_up_no_small_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedproxy.service.commit._FAST_S", 60.0)  # any disk is fast

    async def run() -> None:
        ledger = Ledger(tmp_path / "service.db")
        commit = GroupCommit(ledger, Reserve(tmp_path / "reserve", 4096))
        commit.next.inserts.append(a_task(1))
        await commit.flush()
        reached: list[str] = []
        commit.unhurried.other.append(lambda _connection: reached.append("unhurried"))
        commit.then_soon(lambda: reached.append("told"))
        commit.next.inserts.append(a_task(2))
        inserted = asyncio.Event()
        commit.insert_then(lambda _outcome: inserted.set())
        await asyncio.wait_for(inserted.wait(), 5)
        assert reached == []
        while len(reached) < 2:
            await asyncio.sleep(0.01)
        assert reached == ["unhurried", "told"], "it is written unaided"
        await commit.close()
        ledger.close()

    asyncio.run(run())


def test_a_flush_takes_along_what_nobody_waited_for(tmp_path: Path) -> None:
    async def run() -> None:
        ledger = Ledger(tmp_path / "service.db")
        commit = GroupCommit(ledger, Reserve(tmp_path / "reserve", 4096))
        reached: list[str] = []
        commit.unhurried.other.append(lambda _connection: reached.append("unhurried"))
        commit.then_soon(lambda: reached.append("told"))
        await asyncio.wait_for(commit.flush(), 5)
        assert reached == ["unhurried", "told"]
        await commit.close()
        ledger.close()

    asyncio.run(run())
