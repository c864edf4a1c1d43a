from __future__ import annotations

from types import SimpleNamespace

import pytest

from fedproxy.config.endpoint import Scaling
from fedproxy.endpoint.engines.blocks import Blocks, JobSeen, ManagerSeen


@pytest.fixture
def blocks() -> Blocks:
    made = Blocks(Scaling())
    made.begin(SimpleNamespace(min_blocks=0, max_blocks=4, parallelism=1, status_polling_interval=60, walltime="01:00:00"), 2)
    return made


def seen(block: str, state: str = "RUNNING", *, over: bool = False, message: str = "") -> JobSeen:
    return JobSeen(block, f"job-{block}", state, over, message)


def manager(block: str, *, tasks: int = 0, idle_s: float = 0.0, workers: int = 2) -> ManagerSeen:
    return ManagerSeen(f"m-{block}", block, workers, tasks, idle_s)


def test_a_block_on_its_way_counts_as_places_not_as_workers(blocks: Blocks) -> None:
    blocks.asked([seen("0", "PENDING")], 0.0)
    assert (len(blocks), blocks.workers, blocks.places) == (1, 0, 2)
    blocks.observe([manager("0")], [seen("0")], 1.0)
    assert (blocks.workers, blocks.places, blocks.jobs()) == (2, 2, ["job-0"])


def test_nodes_with_more_cores_than_expected_are_learnt_of(blocks: Blocks) -> None:
    blocks.observe([manager("0", workers=64)], [seen("0")], 0.0)
    blocks.observe([manager("0", workers=64)], [seen("0"), seen("1", "PENDING")], 1.0)
    assert blocks.places == 128


def test_a_block_is_idle_since_its_last_manager_is(blocks: Blocks) -> None:
    blocks.observe([manager("0", idle_s=9.0), manager("0", idle_s=3.0), manager("1", tasks=1)], [seen("0"), seen("1")], 10.0)
    blocks.observe([manager("0", idle_s=9.0), manager("0", idle_s=3.0), manager("1", tasks=1)], [seen("0"), seen("1")], 10.0)
    assert {unit.name: unit.idle_since for unit in blocks.units(True, 10.0)} == {"0": 7.0, "1": None}


def test_a_block_that_waits_in_the_queue_is_of_use_while_tasks_wait(blocks: Blocks) -> None:
    blocks.asked([seen("0", "PENDING")], 0.0)
    assert [unit.idle_since for unit in blocks.units(True, 50.0)] == [50.0]
    assert [unit.idle_since for unit in blocks.units(False, 80.0)] == [50.0]


def test_bad_blocks_are_said_and_asked_for_less_and_less_often(blocks: Blocks) -> None:
    bad = [seen("0", "FAILED", over=True, message="exit code 127; no such python")]
    blocks.asked(bad, 0.0)
    assert "no such python" in blocks.problem
    assert not blocks.may_grow(0.5)
    assert blocks.may_grow(1.0)
    bad.append(seen("1", "FAILED", over=True, message="again"))
    blocks.observe([], bad, 10.0)
    assert not blocks.may_grow(11.5)
    assert blocks.may_grow(12.0)
    blocks.asked([seen("2", "PENDING")], 13.0)
    blocks.observe([manager("2")], [*bad, seen("2")], 14.0)
    assert blocks.problem == ""


def test_a_block_that_worked_may_end_without_a_word(blocks: Blocks) -> None:
    blocks.asked([seen("0", "PENDING")], 0.0)
    blocks.observe([manager("0")], [seen("0")], 1.0)
    blocks.observe([], [seen("0", "TIMEOUT", over=True, message="walltime")], 2.0)
    assert (len(blocks), blocks.problem, blocks.may_grow(2.0)) == (0, "", True)


def test_a_block_without_a_manager_for_minutes_is_worth_a_word(blocks: Blocks) -> None:
    blocks.observe([], [seen("0")], 0.0)
    blocks.observe([], [seen("0")], 100.0)
    assert blocks.problem == ""
    blocks.observe([], [seen("0")], 121.0)
    assert "can its nodes reach this machine" in blocks.problem


def test_the_walltime_that_is_left_is_that_of_the_oldest_block(blocks: Blocks) -> None:
    assert blocks.walltime_left_s(0.0) is None
    blocks.observe([], [seen("0")], 100.0)
    blocks.observe([], [seen("0"), seen("1")], 700.0)
    assert blocks.walltime_left_s(1000.0) == 2700.0


def test_what_was_released_is_not_seen_again(blocks: Blocks) -> None:
    blocks.asked([seen("0", "PENDING")], 0.0)
    blocks.forget(["0"])
    blocks.observe([], [seen("0", "RUNNING")], 1.0)
    assert len(blocks) == 0
