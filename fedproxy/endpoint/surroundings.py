"""What a task finds in its environment: the ranks, accelerators and settings that it asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fedproxy.protocol.messages import Spec, Task
from fedproxy.protocol.resources import launch_prefix

LAUNCHER = "FEDPROXY_MPI_LAUNCHER"
_ACCELERATORS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")


def variables(spec: Spec, task: Task, launcher: str) -> dict[str, str]:
    """The variables of one task. Pure."""
    wanted = spec.resources
    found: dict[str, str] = {}
    if wanted.mpi:
        prefix = launch_prefix(launcher, wanted)
        found |= {"FEDPROXY_MPI_PREFIX": prefix, "PARSL_MPI_PREFIX": prefix, "FEDPROXY_NUM_RANKS": str(wanted.num_ranks),
                  "FEDPROXY_NUM_NODES": str(wanted.num_nodes), "FEDPROXY_RANKS_PER_NODE": str(wanted.ranks_per_node)}
    if wanted.gpus:
        found |= dict.fromkeys(_ACCELERATORS, ",".join(task.accelerators))
    if wanted.cores:
        found["OMP_NUM_THREADS"] = str(max(1, int(wanted.cores)))
    if spec.user_config:
        found["FEDPROXY_USER_ENDPOINT_CONFIG"] = spec.user_config
    return found


@contextmanager
def surroundings(spec: Spec, task: Task) -> Iterator[None]:
    """Within the block, this process has the task's variables; afterwards its own again."""
    with _set(variables(spec, task, os.environ.get(LAUNCHER, "mpirun"))):
        yield


@contextmanager
def _set(found: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in found}
    os.environ.update(found)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
