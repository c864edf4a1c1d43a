"""What a task asks for, what an endpoint has, and whether the one fits in the other. Pure.

The keys are those that users of Globus Compute and Parsl know (``num_nodes``, ``ranks_per_node``, ``num_ranks``, ``launcher_options``), and ``cores``,
``memory_mb`` and ``gpus`` of what is to be kept for the task on a node.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping

from attrs import asdict, evolve, frozen

from fedproxy.errors import ConfigError

_MPI = ("num_nodes", "ranks_per_node", "num_ranks")
LAUNCHERS: Mapping[str, str] = {
    "mpirun": "mpirun -np {num_ranks} --map-by ppr:{ranks_per_node}:node {launcher_options}",
    "mpiexec": "mpiexec -n {num_ranks} -ppn {ranks_per_node} {launcher_options}",
    "srun": "srun --nodes={num_nodes} --ntasks={num_ranks} --ntasks-per-node={ranks_per_node} {launcher_options}",
    "aprun": "aprun -n {num_ranks} -N {ranks_per_node} {launcher_options}",
}
"""Open MPI's mpirun; mpiexec of MPICH, PALS and Cray MPI; Slurm's and ALPS's. Anything else is a template of its own."""


@frozen
class Resources:
    """What one task asks for. Zeros: nothing is kept for it beyond its worker."""

    cores: float = 0
    memory_mb: int = 0
    gpus: int = 0
    num_nodes: int = 0
    ranks_per_node: int = 0
    num_ranks: int = 0
    launcher_options: str = ""

    @property
    def mpi(self) -> bool:
        """Whether it asks for ranks."""
        return self.num_ranks > 0

    @property
    def cores_per_node(self) -> float:
        """Cores to be kept on a node: one for each rank unless ``cores`` says otherwise."""
        return self.cores or self.ranks_per_node


NOTHING = Resources()


@frozen
class Capacity:
    """What an endpoint has."""

    cores: float
    memory_mb: int
    gpus: int = 0
    nodes: int = 1


def resources(specification: Mapping[str, object] | Resources | None) -> Resources:
    """A user's ``resource_specification``, checked and completed: of the three numbers of an MPI application, two give the third.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, ranks that do not divide; the message says which.
    """
    if specification is None:
        return NOTHING
    if isinstance(specification, Resources):
        return specification
    if not isinstance(specification, Mapping):
        raise ConfigError(f"resource_specification is a mapping, not {specification!r}")
    known = list(asdict(NOTHING))
    for key, value in specification.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            raise ConfigError(f"resource_specification: unknown key {key!r}", hint=f"did you mean {close[0]}?" if close else f"keys are {', '.join(known)}")
        _check(key, value)
    given = Resources(**specification)  # type: ignore[arg-type]
    if given.launcher_options and not any(key in specification for key in _MPI):
        raise ConfigError("resource_specification: launcher_options without ranks", hint="give num_ranks, or num_nodes and ranks_per_node")
    return _ranks(given) if any(key in specification for key in _MPI) else given


def _check(key: str, value: object) -> None:
    if key == "launcher_options":
        if not isinstance(value, str):
            raise ConfigError(f"resource_specification: launcher_options is a text, not {value!r}")
        try:
            shlex.split(value)
        except ValueError as exc:
            raise ConfigError(f"resource_specification: launcher_options {value!r}: {exc}") from exc
    elif key == "cores":
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6:
            raise ConfigError(f"resource_specification: cores is a number above zero, not {value!r}")
    elif not isinstance(value, int) or isinstance(value, bool) or value < (0 if key == "gpus" else 1):
        raise ConfigError(f"resource_specification: {key} is a whole number above zero, not {value!r}")


def _ranks(given: Resources) -> Resources:
    nodes, per_node, ranks = given.num_nodes, given.ranks_per_node, given.num_ranks
    if nodes and per_node and ranks and nodes * per_node != ranks:
        raise ConfigError(f"resource_specification: num_ranks={ranks} is not num_nodes={nodes} times ranks_per_node={per_node}", hint="leave one of them out")
    if per_node and ranks and not nodes:
        nodes = -(-ranks // per_node)
    nodes = nodes or 1
    ranks = ranks or nodes * (per_node or 1)
    if ranks % nodes or (per_node and nodes * per_node != ranks):
        raise ConfigError(f"resource_specification: {ranks} ranks cannot be spread evenly over {nodes} nodes" + (f" of {per_node}" if per_node else ""))
    return evolve(given, num_nodes=nodes, ranks_per_node=ranks // nodes, num_ranks=ranks)


def shortage(wanted: Resources, there: Capacity) -> str:
    """What keeps a task from ever running there, in words; empty if nothing does."""
    for what, asked, has in (
        ("nodes", wanted.num_nodes, there.nodes), ("cores on a node", wanted.cores_per_node, there.cores), ("MB of memory", wanted.memory_mb, there.memory_mb),
        ("accelerators", wanted.gpus, there.gpus),
    ):
        if asked > has:
            return f"it asks for {asked:g} {what}, and there are {has:g}"
    return ""


def launch_prefix(launcher: str, wanted: Resources) -> str:
    """The words before a command that start its ranks.

    Raises:
        ConfigError: ``launcher`` is neither a known name nor a template.
    """
    template = LAUNCHERS.get(launcher, launcher)
    if "{num_ranks}" not in template:
        raise ConfigError(f"engine.mpi_launcher: {launcher!r} is neither one of {', '.join(LAUNCHERS)} nor a template with {{num_ranks}}")
    options = shlex.join(shlex.split(wanted.launcher_options))
    try:
        return template.format(
            num_ranks=wanted.num_ranks, num_nodes=wanted.num_nodes, ranks_per_node=wanted.ranks_per_node, launcher_options=options).strip()
    except (KeyError, IndexError, ValueError) as exc:
        raise ConfigError(f"engine.mpi_launcher: {launcher!r}: {exc!r}", hint="it may name num_ranks, num_nodes, ranks_per_node, launcher_options") from exc
