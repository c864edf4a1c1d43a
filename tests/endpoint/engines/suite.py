"""What every engine must do, whatever it runs on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from fedproxy.config.endpoint import EngineConfig
from fedproxy.errors import ContainerRuntimeMissingError
from fedproxy.protocol.states import TaskState
from fedproxy.serialize.exceptions import deserialize_exception
from tests.endpoint.engines.harness import running


def double(number: int) -> int:
    return 2 * number


def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


def note(path: str, seconds: float = 0.0) -> int:
    """Says who runs it, then takes its time."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, b"%d\n" % os.getpid())
    os.close(descriptor)
    time.sleep(seconds)
    return os.getpid()


def fail() -> None:
    raise ValueError("on purpose")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def echo(data: bytes) -> bytes:
    return data


def runs(path: Path) -> list[int]:
    """Process ids of the executions so far."""
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


class EngineSuite:
    """Inherit, and give a `config`."""

    @pytest.fixture
    def config(self) -> EngineConfig:
        raise NotImplementedError

    def test_a_job_that_wants_a_container_is_refused_where_none_can_be_had(self, config: EngineConfig, tmp_path: Path) -> None:
        async def scene() -> None:
            async with running(config, tmp_path) as bench:
                (task,) = bench.submit_all([bench.job(double, 1, container="some/image")])
                outcome, body = await bench.outcome(task)
                assert (outcome.state, outcome.started) == (TaskState.FAILED, False)
                assert isinstance(deserialize_exception(body), ContainerRuntimeMissingError)
                assert await bench.value(bench.submit(double, 2)) == 4

        asyncio.run(scene())

    def test_values_exceptions_and_large_data_come_back(self, config: EngineConfig, tmp_path: Path) -> None:
        async def scene() -> None:
            async with running(config, tmp_path) as bench:
                numbers = bench.submit_all([bench.job(double, n) for n in range(300)])
                wrong = bench.submit(fail)
                large = bench.submit(echo, bytes(3_000_000))
                assert [await bench.value(i) for i in numbers] == [2 * n for n in range(300)]
                assert await bench.state(wrong) is TaskState.FAILED
                assert await bench.value(large) == bytes(3_000_000)
                assert set(bench.handed) >= {*numbers, wrong, large}

        asyncio.run(scene())

    def test_cancel_walltime_and_a_killed_worker_end_one_task_each(self, config: EngineConfig, tmp_path: Path) -> None:
        async def scene() -> None:
            mark = tmp_path / "mark"
            async with running(config, tmp_path) as bench:
                slow = bench.submit(note, str(mark), 60.0)
                await bench.until(lambda: runs(mark), "the task to run")
                bench.engine.cancel(slow)
                assert await bench.state(slow) is TaskState.CANCELLED
                timed = bench.submit(nap, 60.0, walltime_s=0.5)
                dead = bench.submit(die)
                fine = bench.submit_all([bench.job(double, n) for n in range(20)])
                assert await bench.state(timed) is TaskState.EXPIRED
                outcome, body = await bench.outcome(dead)
                assert (outcome.state, outcome.started) == (TaskState.LOST, True)
                assert b"SIGKILL" in body
                assert [await bench.value(i) for i in fine] == [2 * n for n in range(20)]

        asyncio.run(scene())

    def test_what_waits_is_cancelled_for_certain_and_ends_unstarted_at_the_stop(self, config: EngineConfig, tmp_path: Path) -> None:
        async def scene() -> None:
            mark, never = tmp_path / "mark", tmp_path / "never"
            async with running(config, tmp_path) as bench:
                busy = bench.submit_all([bench.job(note, str(mark), 60.0) for _ in range(2)])
                await bench.until(lambda: len(runs(mark)) == 2, "both workers to be busy")
                waiting = bench.submit_all([bench.job(note, str(never)) for _ in range(10)])
                bench.engine.cancel(waiting[3])
                outcome, _ = await bench.outcome(waiting[3])
                assert (outcome.state, outcome.started) == (TaskState.CANCELLED, False)
                assert bench.engine.load().waiting == 9
            ends = [(bench.outcomes[i][0].state, bench.outcomes[i][0].started) for i in waiting if i != waiting[3]]
            assert ends == [(TaskState.LOST, False)] * 9
            assert [(bench.outcomes[i][0].state, bench.outcomes[i][0].started) for i in busy] == [(TaskState.LOST, True)] * 2
            assert not runs(never)

        asyncio.run(scene())

    def test_a_long_task_does_not_hold_back_short_ones(self, config: EngineConfig, tmp_path: Path) -> None:
        async def scene() -> None:
            async with running(config, tmp_path) as bench:
                for task_id in bench.submit_all([bench.job(nap, 0.0) for _ in range(20)]):
                    assert await bench.value(task_id) == "rested"  # known to be short now
                long = bench.submit(nap, 3600.0)
                short = bench.submit_all([bench.job(nap, 0.0) for _ in range(200)])
                assert [await bench.value(i) for i in short[60:]] == ["rested"] * 140
                bench.engine.cancel(long)
                assert [await bench.value(i) for i in short] == ["rested"] * 200
                assert await bench.state(long) is TaskState.CANCELLED

        asyncio.run(scene())
