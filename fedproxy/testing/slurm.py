"""A real Slurm on this machine: munged, slurmctld and one slurmd for each node, on free ports, as whoever runs it.

Jobs are started by `sbatch` with ``SLURM_CONF`` set, as on any cluster. There is no accounting (no ``sacct``) and no limit on memory.
Debian packages: slurm-wlm, munge.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
_START_S = 60.0
_CONFIG = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={munge}/munge.sock
CryptoType=crypto/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=30
InactiveLimit=0
KillWait=2
MinJobAge=300
JobRequeue=0
MailProg=/bin/true
SlurmdParameters=config_overrides
"""


def missing() -> list[str]:
    """Programs that are not installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


class Slurm:
    """A cluster of ``nodes`` nodes (n1, n2, ...), all of them this machine."""

    def __init__(self, directory: Path, nodes: int = 3, cpus: int = 2) -> None:
        self.directory, self.nodes = directory, [f"n{i + 1}" for i in range(nodes)]
        self._cpus = cpus
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment: Mapping[str, str] = {
            **os.environ, "SLURM_CONF": str(directory / "slurm.conf"), "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}

    def start(self) -> None:
        """Start all daemons and wait until the nodes are idle."""
        for name in ("munge", "state", "log", *(f"spool/{node}" for node in self.nodes)):
            (self.directory / name).mkdir(parents=True)
        self._configure()
        self._munge()
        self._daemon("slurmctld", "-D", "-i")
        for node in self.nodes:
            self.start_node(node)
        self._wait_until_idle()

    def _configure(self) -> None:
        with ExitStack() as stack:
            probes = [stack.enter_context(socket.socket()) for _ in range(len(self.nodes) + 1)]
            for probe in probes:
                probe.bind(("127.0.0.1", 0))
            ports = [probe.getsockname()[1] for probe in probes]
        host = socket.gethostname().split(".")[0]
        text = _CONFIG.format(host=host, port=ports[0], munge=self.directory / "munge", user=getpass.getuser(), folder=self.directory)
        for node, port in zip(self.nodes, ports[1:], strict=True):
            text += f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self._cpus} RealMemory=1000 State=UNKNOWN\n"
        text += f"PartitionName=debug Nodes={','.join(self.nodes)} Default=YES MaxTime=60 State=UP OverSubscribe=NO\n"
        (self.directory / "slurm.conf").write_text(text)

    def _munge(self) -> None:
        folder = self.directory / "munge"
        folder.chmod(0o755)
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        options = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={folder}/munge.sock", "--num-threads=2", *options)
        self._wait((folder / "munge.sock").exists, "munged")

    def _daemon(self, program: str, *arguments: str, name: str = "") -> None:
        with (self.directory / "log" / f"{name or program}.log").open("ab") as log:
            self._daemons[name or program] = subprocess.Popen(
                [program, *arguments], env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory)

    def start_node(self, node: str) -> None:
        """Start a node's slurmd (again)."""
        self._daemon("slurmd", "-D", "-N", node, name=node)

    def kill_node(self, node: str) -> None:
        """SIGKILL for a node's slurmd; its jobs run on."""
        self._daemons[node].kill()
        self._daemons.pop(node).wait(20)

    def _wait_until_idle(self) -> None:
        self._wait(lambda: self.run("sinfo", "-h", "-p", "debug", "-t", "idle", "-o", "%D").strip() == str(len(self.nodes)), "slurm")

    def _wait(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + _START_S
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come up; see {self.directory / 'log'}")
            time.sleep(0.05)

    def run(self, *command: str) -> str:
        """What a command of Slurm prints; empty where it fails."""
        return subprocess.run(command, env=dict(self.environment), capture_output=True, text=True, timeout=60, check=False).stdout

    def jobs(self, *states: str) -> list[str]:
        """Ids of the jobs in `squeue`, in these states (PENDING, RUNNING, COMPLETING, ...; none: all)."""
        lines = [line.split() for line in self.run("squeue", "-h", "-o", "%i %T").splitlines()]
        return [job for job, state in lines if not states or state in states]

    def stop(self) -> None:
        """Cancel all jobs, end all daemons."""
        jobs = self.jobs()
        if jobs:
            self.run("scancel", *jobs)
            with suppress(TimeoutError):
                self._wait(lambda: not self.jobs(), "the end of all jobs")
        for daemon in reversed(list(self._daemons.values())):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(10)


@contextmanager
def slurm(directory: Path, nodes: int = 3) -> Iterator[Slurm]:
    """A cluster from here to the end of the block."""
    cluster = Slurm(directory, nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
