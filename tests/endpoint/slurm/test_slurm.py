"""The parsl engine on a real Slurm: blocks come and go, and whatever of it is killed, the contract holds and the endpoint recovers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedproxy.dispatch.executor import Executor
from fedproxy.dispatch.future import TaskFuture
from fedproxy.testing.slurm import Slurm
from tests.faults.test_kill import Ledger, record, some_have_run
from tests.programs import Programs, wait_for

pytest.importorskip("parsl")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PATIENCE_S = 120.0
CONFIG = """\
engine:
  type: parsl
  address: 127.0.0.1
  encrypted: true
  max_workers_per_node: {workers}
  max_idletime: {idle_s}
  scaling: {{period_s: 0.5, status_s: 1}}
  provider:
    type: SlurmProvider
    partition: debug
    init_blocks: {blocks}
    min_blocks: 0
    max_blocks: {most}
    nodes_per_block: 1
    walltime: 00:20:00
    launcher: {{type: SimpleLauncher}}
"""


def who(seconds: float) -> tuple[int, int, str]:
    """The process, its parent, and the batch job in which it runs."""
    time.sleep(seconds)
    return os.getpid(), os.getppid(), os.environ.get("SLURM_JOB_ID", "")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_blocks_come_with_the_load_and_go_without_it(cluster: Slurm, programs: Programs) -> None:
    programs.start_service()
    programs.start_configured("hpc", CONFIG.format(workers=1, idle_s=2, blocks=0, most=2))
    assert cluster.jobs() == []
    with programs.client() as client, Executor("hpc", client=client) as executor:
        futures = [executor.submit(who, 1.0) for _ in range(8)]
        wait_for(lambda: len(cluster.jobs("RUNNING")) == 2, "two blocks", PATIENCE_S)
        found = [future.result(PATIENCE_S) for future in futures]
        assert {job for _, _, job in found} <= set(cluster.jobs() or {job for _, _, job in found})
        assert len({job for _, _, job in found}) == 2
        wait_for(lambda: not cluster.jobs(), "no block", PATIENCE_S)
        assert client.get_endpoint_status("hpc")["online"]
        assert executor.submit(who, 0.0).result(PATIENCE_S)[2], "a block comes again"
    programs.kill("hpc", signal.SIGTERM)
    wait_for(lambda: not cluster.jobs("RUNNING", "PENDING"), "the batch jobs to be cancelled", PATIENCE_S)


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def interchange_of(agent: int) -> int:
    """The interchange is the only one of the agent's children that is called so."""
    return next(pid for pid in children(agent) if b"parsl_interchange" in Path(f"/proc/{pid}/cmdline").read_bytes())


def test_whatever_is_killed_the_contract_holds_and_the_endpoint_recovers(cluster: Slurm, programs: Programs, tmp_path: Path) -> None:
    programs.start_service()
    programs.start_configured("hpc", CONFIG.format(workers=1, idle_s=120, blocks=2, most=2))
    ledger = Ledger(tmp_path / "executions")

    orphans: list[int] = []

    def kill_manager(manager: int) -> None:
        """Parsl's managers leave their multiprocessing server behind; on a cluster that tracks jobs by cgroups it ends with the job."""
        orphans.extend(children(manager))
        os.kill(manager, signal.SIGKILL)

    def restart_slurmd() -> None:
        cluster.kill_node("n1")
        cluster.start_node("n1")

    faults: dict[str, tuple[Callable[[int, int, str], object], int]] = {
        "worker": (lambda pid, _supervisor, _job: os.kill(pid, signal.SIGKILL), 1),
        "HTEX worker": (lambda _pid, supervisor, _job: os.kill(supervisor, signal.SIGKILL), 256),
        "manager": (lambda _pid, supervisor, _job: kill_manager(parent(supervisor)), 256),
        "block": (lambda _pid, _supervisor, job: cluster.run("scancel", job), 256),
        "slurmd": (lambda _pid, _supervisor, _job: restart_slurmd(), 0),
        "interchange": (lambda _pid, _supervisor, _job: os.kill(interchange_of(programs.running["hpc"].pid), signal.SIGKILL), 512),
    }
    allowed = 0
    with programs.client() as client, Executor("hpc", client=client) as executor:
        futures: list[TaskFuture[int]] = []
        for what, (kill, lost_at_most) in faults.items():
            where = executor.submit(who, 0.0).result(PATIENCE_S)  # it works (again)
            known = len(ledger.executions())
            futures += [executor.submit(record, str(ledger.path), number) for number in range(len(futures), len(futures) + 500)]
            some_have_run(ledger, known + 100)
            began = time.monotonic()
            kill(*where)
            allowed += lost_at_most
            _, pending = concurrent.futures.wait(futures, timeout=PATIENCE_S)
            assert not pending, f"{what}: {len(pending)} tasks without an end after {time.monotonic() - began:.0f} s\n{programs.log('hpc')[-3000:]}"
            ledger.check(futures, lost_at_most=allowed)
        told = lambda: client.get_endpoint_status("hpc")["report"]["engine"]  # noqa: E731
        wait_for(lambda: told()["restarts"] >= 1 and told()["interchange"], "HTEX to be started anew after the interchange's death", PATIENCE_S)
    for pid in orphans:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_an_agent_that_was_killed_leaves_no_batch_job_and_loses_only_what_ran(cluster: Slurm, programs: Programs, tmp_path: Path) -> None:
    programs.start_service()
    config = CONFIG.format(workers=1, idle_s=120, blocks=1, most=1)
    programs.start_configured("hpc", config)
    ledger = Ledger(tmp_path / "executions")
    with programs.client() as client, Executor("hpc", client=client) as executor:
        executor.submit(who, 0.0).result(PATIENCE_S)
        (first,) = cluster.jobs("RUNNING")
        futures = [executor.submit(record, str(ledger.path), n) for n in range(2000)]
        some_have_run(ledger, 100)
        programs.kill("hpc")
        programs.start_configured("hpc", config)
        wait_for(lambda: first not in cluster.jobs("RUNNING", "PENDING"), "the old block to be cancelled", PATIENCE_S)
        concurrent.futures.wait(futures, timeout=PATIENCE_S)
        ledger.check(futures, lost_at_most=300)
