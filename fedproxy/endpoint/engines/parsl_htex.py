"""Parsl's HighThroughputExecutor without a DataFlowKernel: one object for one interchange and its blocks.

All calls block and belong on one thread, except `submit`, which belongs on one other. What Parsl does on its own here is switched off: its strategy (ours
decides), its error handler (which fails every task when all first blocks fail) and its serializer (bundles are bytes).
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import zmq
from parsl.executors import HighThroughputExecutor
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.jobs.states import JobState, JobStatus
from parsl.providers.cluster_provider import ClusterProvider

from fedproxy.config.endpoint import ParslEngine
from fedproxy.endpoint.engines.blocks import JobSeen, ManagerSeen
from fedproxy.endpoint.engines.parsl_provider import Reach, build_provider
from fedproxy.endpoint.engines.relay import RelayAddress
from fedproxy.endpoint.leash import leashed
from fedproxy.errors import EndpointError

log = logging.getLogger(__name__)

_COMMAND_S = 15.0
_MANAGER_PATIENCE_S = 30
"""A manager whose interchange is silent for so long ends, and its block with it: nothing is left running when the agent is gone."""

_RUN = "fedproxy.endpoint.engines.bundle_runner.run_bundle"
_LAUNCH = (
    "{python} -m parsl.executors.high_throughput.process_worker_pool {{debug}} {{max_workers_per_node}} -a {{addresses}} -p 0 -c {{cores_per_worker}} "
    "-m {{mem_per_worker}} --poll {{poll_period}} --port={{worker_port}} --cert_dir {{cert_dir}} --logdir={{logdir}} --logconf={{logconf}} "
    "--block_id={{{{block_id}}}} --hb_period={{heartbeat_period}} {{address_probe_timeout_string}} --hb_threshold={patience_s} --drain_period={{drain_period}} "
    "--cpu-affinity {{cpu_affinity}} {{enable_mpi_mode}} --mpi-launcher={{mpi_launcher}} --available-accelerators {{accelerators}}")


class Htex:
    """One executor with its interchange."""

    def __init__(self, config: ParslEngine, where: Reach, directory: Path) -> None:
        directory.mkdir(parents=True, mode=0o700)
        (directory / "submit").mkdir()
        self.provider = build_provider(config.provider)
        self.provider.script_dir = str(directory / "submit")
        python = config.python or sys.executable
        self._executor: Any = HighThroughputExecutor(
            label=config.label, provider=self.provider, address=where.hosts[0], encrypted=config.encrypted,
            launch_cmd=_LAUNCH.format(python=shlex.quote(python), patience_s=_MANAGER_PATIENCE_S),
            interchange_launch_cmd=leashed(sys.executable, "-m", "fedproxy.endpoint.engines.parsl_interchange"),
            worker_port_range=config.worker_port_range, cores_per_worker=config.cores_per_worker, mem_per_worker=config.mem_per_worker or None,
            max_workers_per_node=config.max_workers or None, cpu_affinity=config.cpu_affinity, available_accelerators=list(config.available_accelerators),
            heartbeat_period=config.heartbeat_period, heartbeat_threshold=config.heartbeat_threshold, block_error_handler=False)
        self._executor.address = where.bind if where.bind != "0.0.0.0" else None  # noqa: S104 - what the interchange binds
        self._executor.all_addresses = set(where.hosts)
        self._executor.run_dir, self._executor.run_id = str(directory), directory.name
        self._executor._check_python_mismatch = False  # one block with another Python would end the interchange; ours is told at its worker

    def start(self) -> None:
        """Start the interchange.

        Raises:
            EndpointError: it does not start.
        """
        try:
            self._executor.start()
        except Exception as exc:
            raise EndpointError(f"HTEX does not start: {exc}", hint=f"see {self._executor.logdir}") from exc

    @property
    def workers_per_block(self) -> int:
        """As configured; nodes may have more cores than is known here."""
        return int(self.provider.nodes_per_block * self._executor.workers_per_node)

    @property
    def alive(self) -> bool:
        """Whether the interchange runs and nothing has poisoned the executor."""
        process = self._executor.interchange_proc
        return process is not None and process.poll() is None and not self._executor.bad_state_is_set

    @property
    def interchange(self) -> int:
        """Process id of the interchange."""
        return int(self._executor.interchange_proc.pid)

    def submit(self, number: int, buffer: bytes, relay: RelayAddress) -> Future[Any]:
        """Send a bundle as it is: the worker calls `run_bundle` on the bytes."""
        found: Future[Any] = self._executor.submit_payload({"task_executor": {"f": _RUN, "a": (number, relay.plain())}}, buffer)
        return found

    # ------------------------------------------------------------ blocks

    def managers(self) -> list[ManagerSeen]:
        """What is connected.

        Raises:
            EndpointError: the interchange does not answer.
        """
        try:
            found = self._executor.command_client.run("MANAGERS", timeout_s=_COMMAND_S)
        except Exception as exc:
            raise EndpointError(f"the interchange does not answer: {exc!r}") from exc
        return [ManagerSeen(m["manager"], m["block_id"], m["worker_count"], m["tasks"], m["idle_duration"]) for m in found]

    def jobs(self, *, ask: bool) -> list[JobSeen]:
        """All blocks so far; ``ask``: the provider is asked anew."""
        executor = self._executor
        if ask:
            executor._status = BlockProviderExecutor.status(executor)  # HTEX's own asks the interchange, for as long as it takes to answer
        return [_job(block, str(executor.blocks_to_job_id.get(block, "")), status) for block, status in executor.status_facade.items()]

    def grow(self, count: int) -> None:
        """Ask the provider for blocks; one that refuses is among `jobs`, as failed."""
        self._executor.scale_out_facade(count)

    def release(self, blocks: Iterable[str]) -> list[str]:
        """Let go of blocks that do nothing: held first, so that nothing can come in between, and cancelled when they are still idle then."""
        released = []
        wanted = set(blocks)
        for manager in self.managers():
            if manager.block in wanted:
                self._executor._hold_manager(manager.name)
        busy = {manager.block for manager in self.managers() if manager.tasks}
        for block in sorted(wanted - busy):
            self._cancel([block])
            self._mark(block, JobState.SCALED_IN)
            released.append(block)
        return released

    def _mark(self, block: str, state: JobState) -> None:
        status = JobStatus(state)
        self._executor._status[block] = self._executor._simulated_status[block] = status

    def _cancel(self, blocks: list[str]) -> None:
        jobs = [self._executor.blocks_to_job_id[block] for block in blocks if block in self._executor.blocks_to_job_id]
        if jobs:
            self.provider.cancel(jobs)

    def cancel_left_over(self, jobs: list[str]) -> None:
        """Cancel batch jobs of an agent that was killed. A process of the local provider ends by itself: its id may be somebody else's by now."""
        if jobs and isinstance(self.provider, ClusterProvider):
            known = {job: {"job_id": job, "status": JobStatus(JobState.RUNNING), "job_stdout_path": None, "job_stderr_path": None} for job in jobs}
            self.provider.resources.update(known)
            self.provider.cancel(jobs)
            for job in jobs:
                self.provider.resources.pop(job, None)

    def close(self) -> None:
        """Cancel all blocks, end the interchange. Every bundle that is under way fails."""
        executor = self._executor
        try:
            self._cancel([job.block for job in self.jobs(ask=False) if not job.over])
        except Exception as exc:  # noqa: BLE001 - the batch system may be down; the rest must end all the same
            log.warning("blocks could not be cancelled: %s", exc)
        for pipe in ("outgoing_q", "command_client"):  # Parsl would wait forever for a dead interchange to take what is queued
            if hasattr(executor, pipe):
                getattr(executor, pipe).zmq_socket.setsockopt(zmq.LINGER, 0)
        executor.shutdown()
        for future in list(executor.tasks.values()):
            if not future.done():
                future.set_exception(EndpointError("HTEX was shut down"))


def _job(block: str, job: str, status: JobStatus) -> JobSeen:
    message = ""
    if status.terminal and status.state not in (JobState.SCALED_IN, JobState.CANCELLED):
        code = f"exit code {status.exit_code}" if status.exit_code else ""
        said = (status.message, code, (status.stderr_summary or "").strip()[-500:])
        message = "; ".join(str(text) for text in said if text)
    return JobSeen(block, job, status.status_name, bool(status.terminal), message)
