"""What tasks ask for is kept for them; MPI applications; settings that users make."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fedproxy
from fedproxy.dispatch.executor import Executor
from fedproxy.dispatch.future import TaskFuture
from fedproxy.errors import ConfigError, EndpointConfigError, ResourcesError, TaskLostError
from tests.programs import Programs, wait_for


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """A node with four workers, but with two cores and two accelerators for those who ask."""
    made = Programs(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
        patch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        try:
            made.start_service()
            made.start_endpoint(
                workers=4, engine={"cores": 2, "memory_mb": 1000, "available_accelerators": ("a", "b")}, user_config_keys=("account", "queue"))
            yield made
        finally:
            made.stop()


def enter(folder: str, name: str) -> str:
    """Say that one is here, and stay until the door is open."""
    Path(folder, f"in-{name}").touch()
    while not os.path.exists(f"{folder}/open"):
        time.sleep(0.01)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def inside(folder: Path) -> set[str]:
    return {path.name[3:] for path in folder.glob("in-*")}


def state_of(future: TaskFuture[object]) -> str:
    return (future.explain().data.get("place") or {}).get("at", "")


def test_as_many_run_at_once_as_there_are_cores_and_those_that_ask_for_nothing_pass(executor: Executor, tmp_path: Path) -> None:
    asking = executor.using(resource_specification={"cores": 1})
    futures = [asking.submit(enter, str(tmp_path), str(i)) for i in range(4)]
    wait_for(lambda: inside(tmp_path) == {"0", "1"}, "two to run")
    wait_for(lambda: [state_of(f) for f in futures[2:]] == ["blocked", "blocked"], "two to be held back")
    assert "until the cores, memory or accelerators" in str(futures[3].explain())
    assert executor.submit(abs, -7).result(20) == 7
    assert inside(tmp_path) == {"0", "1"}
    (tmp_path / "open").touch()
    assert [f.result(20) for f in futures] == [""] * 4


def test_a_large_one_is_not_passed_by_for_ever_by_small_ones(executor: Executor, tmp_path: Path) -> None:
    first = executor.using(resource_specification={"memory_mb": 600}).submit(enter, str(tmp_path), "first")
    wait_for(lambda: inside(tmp_path) == {"first"}, "the first")
    large = executor.using(resource_specification={"memory_mb": 1000}).submit(enter, str(tmp_path), "large")
    wait_for(lambda: state_of(large) == "blocked", "the large one to be held back")
    small = executor.using(resource_specification={"memory_mb": 100}).submit(enter, str(tmp_path), "small")
    wait_for(lambda: state_of(small) == "blocked", "the small one to stand behind it")
    (tmp_path / "open").touch()
    assert [f.result(20) for f in (first, large, small)] == [""] * 3


def test_each_accelerator_is_one_tasks_alone(executor: Executor, tmp_path: Path) -> None:
    asking = executor.using(resource_specification={"gpus": 1})
    futures = [asking.submit(enter, str(tmp_path), str(i)) for i in range(3)]
    wait_for(lambda: len(inside(tmp_path)) == 2, "two to run")
    wait_for(lambda: state_of(futures[2]) == "blocked", "the third to be held back")
    (tmp_path / "open").touch()
    assert {futures[0].result(20), futures[1].result(20)} == {"a", "b"}
    assert futures[2].result(20) in ("a", "b")
    assert executor.submit(enter, str(tmp_path), "none").result(20) == "", "the next task in that worker has none"


def test_a_dead_or_cancelled_task_gives_back_what_it_had(executor: Executor, tmp_path: Path) -> None:
    asking = executor.using(resource_specification={"cores": 2})
    with pytest.raises(TaskLostError):
        asking.submit(lambda: os.kill(os.getpid(), signal.SIGKILL)).result(20)
    running, blocked, last = (asking.submit(enter, str(tmp_path), str(i)) for i in range(3))
    wait_for(lambda: state_of(last) == "blocked", "two to be held back")
    assert blocked.cancel()
    assert running.cancel()
    (tmp_path / "open").touch()
    assert last.result(20) == ""
    assert inside(tmp_path) == {"0", "2"}


def test_what_can_never_fit_is_refused_at_submit(executor: Executor) -> None:
    executor.resource_specification = {"cores": 3}
    assert executor.resource_specification == {"cores": 3}
    with pytest.raises(ResourcesError, match=r"3 cores on a node, and there are 2 .*ask for less"):
        executor.submit(abs, 1)
    executor.resource_specification = None  # type: ignore[assignment]
    assert executor.submit(abs, -1).result(20) == 1
    with pytest.raises(ConfigError, match="did you mean cores"):
        Executor("local", client=executor.client, resource_specification={"core": 3})


def test_what_can_never_fit_ends_failed_when_nobody_looked_before(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedproxy.dispatch.executor._check_resources", lambda *_: None)
    future = executor.using(resource_specification={"gpus": 9}, retries=3).submit(abs, 1)
    assert isinstance(future.exception(20), ResourcesError)
    assert future.status() == "FAILED"
    assert future.done_info is not None
    assert future.done_info.attempt == 0, "another try would not help"


def settings() -> dict[str, object]:
    found: dict[str, object] = json.loads(os.environ.get("FEDPROXY_USER_ENDPOINT_CONFIG", "{}"))
    return found


def test_settings_reach_the_task_if_the_endpoint_allows_them(executor: Executor) -> None:
    executor.user_endpoint_config = {"account": "physics", "queue": ["debug"]}
    assert executor.submit(settings).result(20) == executor.user_endpoint_config == {"account": "physics", "queue": ["debug"]}
    executor.user_endpoint_config = {"account": "physics", "worker_init": "rm -r"}
    with pytest.raises(EndpointConfigError, match=r"does not let users set 'worker_init' \(it allows account, queue\)"):
        executor.submit(settings).result(20)
    executor.user_endpoint_config = {}
    assert executor.submit(settings).result(20) == {}
    with pytest.raises(ConfigError, match="user_endpoint_config"):
        executor.using(user_endpoint_config={"x": object()})


@pytest.fixture(scope="module")
def mpirun() -> None:
    if shutil.which("mpirun") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("mpirun is missing (Debian package openmpi-bin)")


# A collective of the real library, by ctypes: so that it needs no compiler.
_SUM_OF_RANKS = """
import ctypes, sys
mpi = ctypes.CDLL("libmpi.so.40", mode=ctypes.RTLD_GLOBAL)
at = lambda name: ctypes.byref(ctypes.c_char.in_dll(mpi, name))
mpi.MPI_Init(None, None)
rank, total = ctypes.c_int(), ctypes.c_int()
mpi.MPI_Comm_rank(at("ompi_mpi_comm_world"), ctypes.byref(rank))
mine = ctypes.c_int(rank.value + 1)
mpi.MPI_Allreduce(ctypes.byref(mine), ctypes.byref(total), 1, at("ompi_mpi_int"), at("ompi_mpi_op_sum"), at("ompi_mpi_comm_world"))
print("sum", total.value)
mpi.MPI_Finalize()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("mpirun")
def test_an_mpi_application_runs_on_its_ranks(executor: Executor, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(_SUM_OF_RANKS)
    executor.resource_specification = {"num_nodes": 1, "ranks_per_node": 2, "launcher_options": "--quiet"}
    done = executor.submit(fedproxy.MPIFunction("{python} {script}"), python=sys.executable, script=str(script)).result(60)
    assert (done.returncode, sorted(done.stdout.split("\n"))) == (0, ["", "sum 3", "sum 3"]), done.stderr
    assert done.cmd.startswith("mpirun -np 2 --map-by ppr:2:node --quiet ")


@pytest.mark.slow
@pytest.mark.usefixtures("mpirun")
def test_walltime_kills_every_rank(executor: Executor, tmp_path: Path) -> None:
    function = fedproxy.MPIFunction("sh -c 'echo $$ > {folder}/$$; exec sleep 600'", resource_specification={"num_ranks": 2}, walltime=3.0)
    future = executor.submit(function, folder=str(tmp_path))
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2, "both ranks", 60)
    assert future.result(30).returncode == 124
    wait_for(lambda: not [p for p in tmp_path.iterdir() if os.path.exists(f"/proc/{p.name}/exe")], "the ranks to be gone")


@pytest.mark.parametrize(("make", "words"), [
    (lambda: fedproxy.MPIFunction("x", resource_specification={"cores": 1}), "needs ranks"),
    (lambda: fedproxy.MPIFunction("x", resource_specification={"num_ranks": -1}), "above zero"),
    (lambda: fedproxy.MPIFunction("x")(), "was given no ranks"),
])
def test_an_mpi_application_without_ranks_is_refused(make: Callable[[], object], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDPROXY_MPI_PREFIX", raising=False)
    with pytest.raises(ConfigError, match=words):
        make()


def test_an_mpi_application_is_refused_at_submit(executor: Executor) -> None:
    with pytest.raises(ConfigError, match="needs ranks"):
        executor.submit(fedproxy.MPIFunction("x"))
    with pytest.raises(ResourcesError, match="2 nodes, and there are 1"):
        executor.submit(fedproxy.MPIFunction("x", resource_specification={"num_nodes": 2}))
