"""The simulations that drive the router: what they find is decided by code and seed, not by the speed of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.routing_sim import Setting, lower_bound_s, simulate
from benchmarks.scale_workers import SimulatedEndpoint


@pytest.mark.parametrize("duration_s", [0.0, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("deployed", [True, False])
def test_warming_aware_routing_needs_few_cold_starts_and_ends_sooner(duration_s: float, deployed: bool) -> None:
    setting = Setting(duration_s, deployed=deployed)
    warm, random = simulate(setting, "warm"), simulate(setting, "random")
    assert warm.functions == random.functions == 3000
    assert warm.cold_starts <= (22 if deployed else 110)
    assert random.cold_starts > 2000
    assert lower_bound_s(setting) <= warm.completion_s < random.completion_s
    saved = 1 - warm.completion_s / random.completion_s
    assert saved >= (0.6 if duration_s < 20 else 0.25)


def test_the_papers_reduction_is_reached_where_starting_costs_more_than_running() -> None:
    setting = Setting(5.0)
    assert 1 - simulate(setting, "warm").completion_s / simulate(setting, "random").completion_s >= 0.61


@pytest.mark.parametrize("routing", ["warm", "random"])
def test_no_worker_does_two_things_at_once(routing: str) -> None:
    setting = Setting(5.0, functions=500, nodes=3, workers=4, kinds=5, deployed=False)
    found = simulate(setting, routing)
    assert found.functions == 500
    assert found.worker_s <= found.completion_s * 12
    assert found.worker_s == pytest.approx(500 * 5.0 + found.cold_starts * setting.cold_s)


def test_a_simulation_repeats_itself() -> None:
    assert simulate(Setting(5.0, seed=3), "random") == simulate(Setting(5.0, seed=3), "random")
    assert simulate(Setting(5.0, seed=3), "random") != simulate(Setting(5.0, seed=4), "random")


def test_the_simulated_endpoint_keeps_its_books(tmp_path: Path) -> None:
    endpoint = SimulatedEndpoint(128, tmp_path)
    endpoint.service_sends(100)
    endpoint.workers_answer(40)
    endpoint.service_sends(60)
    assert len(endpoint._holdings) == len(endpoint._running) == 120
    with pytest.raises(RuntimeError, match="no worker is free"):
        endpoint.service_sends(9)
    endpoint.close()
