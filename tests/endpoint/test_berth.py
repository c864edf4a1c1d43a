"""What of a node belongs to which worker."""

from __future__ import annotations

import pytest

from fedproxy.config.endpoint import LocalEngine
from fedproxy.endpoint.berth import Berths, cores_for

EIGHT = range(8)


@pytest.mark.parametrize(("policy", "shares"), [
    ("block", [(0, 1, 2, 3), (4, 5, 6, 7)]), ("alternating", [(0, 2, 4, 6), (1, 3, 5, 7)]), ("none", [tuple(EIGHT), tuple(EIGHT)])])
def test_cores_are_shared_out_by_the_policy(policy: str, shares: list[tuple[int, ...]]) -> None:
    assert [cores_for(policy, place, 2, EIGHT) for place in range(2)] == shares


@pytest.mark.parametrize("policy", ["block", "alternating"])
@pytest.mark.parametrize("workers", [1, 3, 5, 8])
def test_every_core_has_one_worker(policy: str, workers: int) -> None:
    shares = [cores_for(policy, place, workers, EIGHT) for place in range(workers)]
    assert sorted(core for share in shares for core in share) == list(EIGHT)
    assert all(shares)


def test_more_workers_than_cores_share_them() -> None:
    assert [cores_for("block", place, 4, (2, 3)) for place in range(4)] == [(2,), (3,), (2,), (3,)]


def test_a_worker_that_replaces_another_has_its_place() -> None:
    berths = Berths(LocalEngine(max_workers=2, available_accelerators=("GPU-a", "GPU-b")), EIGHT)
    first, second = berths.take(1), berths.take(2)
    assert (first.environment["CUDA_VISIBLE_DEVICES"], second.environment["CUDA_VISIBLE_DEVICES"]) == ("GPU-a", "GPU-b")
    berths.leave(1)
    assert berths.take(3).environment["ROCR_VISIBLE_DEVICES"] == "GPU-a"
    assert second.environment["ZE_AFFINITY_MASK"] == "GPU-b"


def test_a_number_of_accelerators_stands_for_their_ids() -> None:
    berths = Berths(LocalEngine(max_workers=3, available_accelerators=3), EIGHT)
    assert [berths.take(number).environment["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["0", "1", "2"]


def test_accelerators_that_are_too_few_go_to_the_tasks_that_ask() -> None:
    assert "CUDA_VISIBLE_DEVICES" not in Berths(LocalEngine(max_workers=3, available_accelerators=2), EIGHT).take(1).environment


def test_worker_init_runs_in_the_workers_own_process() -> None:
    berth = Berths(LocalEngine(worker_init="export A=1"), EIGHT).take(1)
    assert berth.command(["python", "-m", "x"]) == ["/bin/bash", "-c", 'export A=1\nexec "$@"', "fedproxy-worker", "python", "-m", "x"]
