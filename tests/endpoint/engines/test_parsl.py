from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fedproxy.config.endpoint import ParslEngine, Scaling
from fedproxy.protocol.states import TaskState
from tests.endpoint.engines.harness import running
from tests.endpoint.engines.suite import EngineSuite, double

pytest.importorskip("parsl")


@pytest.mark.slow
class TestParslEngine(EngineSuite):
    @pytest.fixture
    def config(self) -> ParslEngine:
        return ParslEngine(provider={"type": "LocalProvider", "init_blocks": 1, "max_blocks": 1}, max_workers=2, scaling=Scaling(status_s=1.0))


@pytest.mark.slow
def test_a_bad_block_costs_no_task_and_the_next_one_serves(tmp_path: Path) -> None:
    """The first block ends before it starts a worker, as on a node without our Python."""
    flag = tmp_path / "first"
    provider = {
        "type": "LocalProvider", "init_blocks": 1, "max_blocks": 1,
        "worker_init": f"if [ ! -e {flag} ]; then touch {flag}; echo no such interpreter >&2; exit 127; fi"}

    async def scene() -> None:
        config = ParslEngine(provider=provider, max_workers=1, scaling=Scaling(period_s=0.2, status_s=0.5))
        async with running(config, tmp_path) as bench:
            tasks = bench.submit_all([bench.job(double, n) for n in range(20)])
            assert [await bench.value(i) for i in tasks] == [2 * n for n in range(20)]
            assert flag.exists()  # the first block has failed
            assert bench.engine.load().problem == ""
            told = bench.engine.details()
            assert (told["bad_blocks"], told["restarts"]) == (1, 0)
            assert "before any worker connected" in told["latest_bad_blocks"][0]
            assert "no such interpreter" in told["latest_bad_blocks"][0]

    asyncio.run(scene())


@pytest.mark.slow
def test_a_provider_that_refuses_every_block_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    async def scene() -> None:
        config = ParslEngine(provider={"type": "SlurmProvider", "max_blocks": 1}, address="127.0.0.1", scaling=Scaling(period_s=0.2, status_s=0.5))
        async with running(config, tmp_path) as bench:
            task = bench.submit(double, 1)
            await bench.until(lambda: "before any worker connected" in bench.engine.load().problem, "the failure to be said")
            assert bench.engine.load().waiting == 1
        outcome, _ = bench.outcomes[task]
        assert (outcome.state, outcome.started) == (TaskState.LOST, False)

    asyncio.run(scene())
