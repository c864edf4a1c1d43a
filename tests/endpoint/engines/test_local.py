from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fedproxy.config.endpoint import LocalEngine, Scaling
from fedproxy.protocol.states import TaskState
from tests.endpoint.engines.harness import running
from tests.endpoint.engines.suite import EngineSuite, double, nap


class TestLocalEngine(EngineSuite):
    @pytest.fixture
    def config(self) -> LocalEngine:
        return LocalEngine(max_workers=2)


def gate(path: str) -> str:
    """Takes no time, unless there is a path, which it waits for."""
    import os
    import time

    while path and not os.path.exists(path):
        time.sleep(0.005)
    return path


def test_cancelling_a_job_that_was_sent_ahead_leaves_the_one_before_it_alone(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(LocalEngine(max_workers=1), tmp_path) as bench:
            for task in bench.submit_all([bench.job(gate, "") for _ in range(20)]):
                assert await bench.value(task) == ""  # known to be short now
            opened = tmp_path / "opened"
            long, wanted, unwanted, behind = bench.submit_all([
                bench.job(gate, str(opened)), bench.job(gate, ""), bench.job(gate, str(tmp_path / "never")), bench.job(gate, "")])
            await bench.until(lambda: behind in bench.handed, "all to be sent ahead")
            bench.engine.cancel(unwanted)
            opened.touch()
            assert await bench.value(long) == str(opened)
            assert await bench.value(wanted) == ""
            assert await bench.state(unwanted) is TaskState.CANCELLED
            assert await bench.value(behind) == ""

    asyncio.run(scene())


def test_workers_come_with_the_load_and_go_when_they_were_idle(tmp_path: Path) -> None:
    async def scene() -> None:
        config = LocalEngine(max_workers=3, min_workers=0, scaling=Scaling(idle_s=0.3, period_s=0.1))
        async with running(config, tmp_path) as bench:
            assert bench.engine.load().workers == 0
            assert await bench.value(bench.submit(double, 1)) == 2  # calls known to be short are sent ahead to one worker
            tasks = bench.submit_all([bench.job(nap, 3.0) for _ in range(3)])
            await bench.until(lambda: bench.engine.load().workers == 3, "all workers")
            for task in tasks:
                assert await bench.value(task) == "rested"
            await bench.until(lambda: not bench.engine.details()["workers"], "all workers to be let go")
            again = bench.submit(nap, 0.0)
            assert await bench.value(again) == "rested"

    asyncio.run(scene())


def test_workers_that_die_while_they_start_are_a_problem_until_one_is_ready(tmp_path: Path) -> None:
    async def scene() -> None:
        broken = tmp_path / "broken"
        broken.touch()
        async with running(LocalEngine(max_workers=1, worker_init=f"if [ -e {broken} ]; then echo no such module >&2; exit 3; fi"), tmp_path) as bench:
            task = bench.submit(double, 1)
            await bench.until(lambda: "exited with code 3" in bench.engine.load().problem, "the problem to be said")
            assert "no such module" in str(bench.engine.details()["problem"])
            broken.unlink()
            assert await bench.value(task) == 2
            assert bench.engine.load().problem == ""

    asyncio.run(scene())
