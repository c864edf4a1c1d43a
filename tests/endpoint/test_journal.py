"""The agent's memory on disk."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedproxy.endpoint.holdings import Holdings
from fedproxy.endpoint.journal import Held, Journal, replay
from fedproxy.protocol import messages as m
from fedproxy.protocol.states import TaskState

ONE, TWO, THREE = (bytes([i]) * 16 for i in (1, 2, 3))


def tasks(*ids: bytes, attempt: int = 0) -> tuple[m.Tasks, memoryview]:
    return m.Tasks({}, (), tuple(m.Task(i, b"s", attempt, 4) for i in ids)), memoryview(b"load" * len(ids))


def ended(task_id: bytes, body: bytes = b"value", attempt: int = 0) -> tuple[m.Outcome, bytes]:
    return m.Outcome(task_id, attempt, int(TaskState.SUCCEEDED), len(body)), body


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def reopened(path: Path) -> Holdings:
    return Holdings(Journal(path))


def test_what_arrived_is_there_after_a_kill(path: Path) -> None:
    holdings = Holdings(Journal(path))
    fresh, _ = holdings.accept(*tasks(ONE, TWO))
    assert [e.payload for e in fresh] == [b"load", b"load"]
    again = reopened(path)
    assert [e.task.id for e in again.waiting()] == [ONE, TWO]
    assert [e.payload for e in again.waiting()] == [b"load", b"load"]


def test_a_task_that_a_worker_had_is_lost_after_a_kill(path: Path) -> None:
    holdings = Holdings(Journal(path))
    holdings.accept(*tasks(ONE, TWO))
    holdings.hand([ONE])
    again = reopened(path)
    assert [e.task.id for e in again.waiting()] == [TWO]
    ((outcome, body),) = again.finished()
    assert (outcome.id, outcome.state) == (ONE, TaskState.LOST)
    assert b"may have started" in body


def test_a_result_is_kept_until_it_is_confirmed(path: Path) -> None:
    holdings = Holdings(Journal(path))
    holdings.accept(*tasks(ONE, TWO))
    holdings.write_down(holdings.finish([ended(ONE), ended(TWO)]))
    holdings.settle([(TWO, 0)])
    again = reopened(path)
    assert [(o.id, bytes(b)) for o, b in again.finished()] == [(ONE, b"value")]
    assert again.inventory() == ((ONE, 0),)


def test_what_is_sent_twice_is_taken_once(path: Path) -> None:
    holdings = Holdings(Journal(path))
    assert len(holdings.accept(*tasks(ONE))[0]) == 1
    assert holdings.accept(*tasks(ONE)) == ([], [])
    holdings.finish([ended(ONE)])
    assert holdings.accept(*tasks(ONE)) == ([], []), "finished, not confirmed: it must not run again"


def test_a_newer_attempt_replaces_an_older_one(path: Path) -> None:
    holdings = Holdings(Journal(path))
    holdings.accept(*tasks(ONE))
    fresh, outdated = holdings.accept(*tasks(ONE, attempt=1))
    assert [e.task.attempt for e in fresh] == [1]
    assert outdated == [ONE]
    assert holdings.finish([ended(ONE, attempt=0)]) == [], "a late result of the old attempt is dropped"
    assert len(holdings.finish([ended(ONE, attempt=1)])) == 1


def test_settling_what_still_runs_names_it(path: Path) -> None:
    holdings = Holdings(Journal(path))
    holdings.accept(*tasks(ONE))
    assert holdings.settle([(ONE, 0), (THREE, 0)]) == [ONE]
    assert len(holdings) == 0


@given(st.data())
def test_a_torn_or_damaged_tail_is_ignored(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    path = tmp_path_factory.mktemp("j") / "journal"
    journal = Journal(path)
    holdings = Holdings(journal)
    holdings.accept(*tasks(ONE))
    whole = path.stat().st_size
    holdings.accept(*tasks(TWO))
    journal.close()
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(whole, len(raw) - 1))]
    else:
        raw[data.draw(st.integers(whole, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert list(replay(raw)) == [ONE]


def test_rewriting_keeps_exactly_what_is_held(path: Path) -> None:
    journal = Journal(path)
    holdings = Holdings(journal)
    for i in range(50):
        holdings.accept(*tasks(bytes([i]) * 16))
        holdings.settle([(bytes([i]) * 16, 0)])
    holdings.accept(*tasks(ONE, TWO))
    holdings.hand([TWO])
    before = path.stat().st_size
    journal.rewrite([Held(m.Task(ONE, b"s", 0, 4), b"load"), Held(m.Task(TWO, b"s", 0, 0), None, handed=True)])
    journal.close()
    assert path.stat().st_size < before
    again = reopened(path)
    assert {e.task.id for e in again.waiting()} == {ONE}
    assert {o.id for o, _ in again.finished()} == {TWO}


def test_flushing_is_shared_and_reported(path: Path) -> None:
    async def scenario() -> list[str]:
        journal = Journal(path)
        told: list[str] = []
        done = asyncio.get_running_loop().create_future()
        journal.flush_then(lambda: told.append("one"))
        journal.flush_then(lambda: told.append("two"))
        journal.flush_then(lambda: done.set_result(None))
        await asyncio.wait_for(done, 5)
        journal.close()
        return told

    assert asyncio.run(scenario()) == ["one", "two"]


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """What a full disk does: as much is written as there is room for, then nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_half_a_record_on_a_full_disk_hides_nothing_that_comes_behind(path: Path) -> None:
    holdings = Holdings(Journal(path))
    holdings.accept(*tasks(ONE))
    size = path.stat().st_size
    with no_file_longer_than(size + 10), pytest.raises(OSError, match="File too large"):
        holdings.accept(*tasks(TWO))
    assert path.stat().st_size == size
    assert holdings.known(TWO) == "unknown"
    holdings.accept(*tasks(THREE))
    holdings.hand([ONE])
    again = reopened(path)
    assert [e.task.id for e in again.waiting()] == [THREE]
    assert [o.id for o, _ in again.finished()] == [ONE], "a worker had it: it must not run again"


def test_a_result_that_does_not_fit_is_kept_and_confirmed_all_the_same(path: Path) -> None:
    holdings = Holdings(Journal(path))
    holdings.accept(*tasks(ONE))
    holdings.hand([ONE])
    with no_file_longer_than(path.stat().st_size + 5):
        holdings.write_down(holdings.finish([ended(ONE)]))
        assert [o.id for o, _ in holdings.finished()] == [ONE]
        assert holdings.settle([(ONE, 0)]) == []
    assert len(holdings) == 0


def test_a_journal_that_cannot_be_rewritten_goes_on_in_the_old_file(path: Path) -> None:
    journal = Journal(path)
    holdings = Holdings(journal)
    holdings.accept(*tasks(ONE, TWO))
    with no_file_longer_than(10), pytest.raises(OSError, match="File too large"):
        journal.rewrite([Held(tasks(ONE)[0].items[0], b"load")])
    holdings.hand([ONE])
    again = reopened(path)
    assert [e.task.id for e in again.waiting()] == [TWO]
    assert [each.name for each in path.parent.iterdir() if each.name.endswith(".new")] == []
