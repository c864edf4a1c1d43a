from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from fedproxy.config.endpoint import ExecutorEngine
from fedproxy.endpoint.engines.executor import make_executor
from fedproxy.errors import ConfigError
from fedproxy.protocol.states import TaskState
from tests.endpoint.engines.harness import running
from tests.endpoint.engines.suite import EngineSuite, double, note, runs


class TestThreads(EngineSuite):
    """The standard library's: no process but our own worker between the task and this one."""

    @pytest.fixture
    def config(self) -> ExecutorEngine:
        return ExecutorEngine(factory="concurrent.futures.ThreadPoolExecutor", args={"max_workers": 2}, max_workers=2)


@pytest.mark.slow
class TestLoky(EngineSuite):
    @pytest.fixture
    def config(self) -> ExecutorEngine:
        return ExecutorEngine(factory="loky.get_reusable_executor", args={"max_workers": 2, "timeout": 60}, max_workers=2)

    def test_a_broken_executor_costs_what_it_ran_and_is_made_anew(self, config: ExecutorEngine, tmp_path: Path) -> None:
        async def scene() -> None:
            mark = tmp_path / "mark"
            async with running(config, tmp_path) as bench:
                slow = bench.submit(note, str(mark), 60.0)
                await bench.until(lambda: runs(mark), "the task to run")
                supervisor = int(Path(f"/proc/{runs(mark)[0]}/stat").read_text().rpartition(")")[2].split()[1])
                os.kill(supervisor, signal.SIGKILL)
                outcome, _ = await bench.outcome(slow)
                assert (outcome.state, outcome.started) == (TaskState.LOST, True)
                again = bench.submit_all([bench.job(double, n) for n in range(20)])
                assert [await bench.value(i) for i in again] == [2 * n for n in range(20)]
                assert bench.engine.details()["made"] == 2
                assert len(runs(mark)) == 1

        asyncio.run(scene())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Dask itself
def test_tasks_run_on_dask(tmp_path: Path) -> None:
    """One scene of the suite: a cluster takes seconds to start."""
    args = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "local_directory": str(tmp_path / "dask")}
    config = ExecutorEngine(factory="distributed.Client.get_executor", args=args, max_workers=2)
    EngineSuite().test_cancel_walltime_and_a_killed_worker_end_one_task_each(config, tmp_path)


@pytest.mark.parametrize(("factory", "args", "said"), [
    ("no_such_module.Executor", {}, "no module named 'no_such_module'"),
    ("concurrent.futures.NoSuchExecutor", {}, "has no NoSuchExecutor"),
    ("concurrent.futures.ThreadPoolExecutor", {"workers": 2}, "unexpected keyword argument 'workers'"),
    ("collections.OrderedDict", {}, "not a concurrent.futures.Executor"),
])
def test_an_executor_that_cannot_be_made_is_named(factory: str, args: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_executor(ExecutorEngine(factory=factory, args=args))
