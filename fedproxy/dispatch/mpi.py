"""MPI applications as functions. Imported by workers, so it imports little."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedproxy.dispatch.shell import ShellFunction, ShellResult
from fedproxy.errors import ConfigError
from fedproxy.protocol.resources import Resources, resources

if TYPE_CHECKING:
    from fedproxy.dispatch.options import Options


class MPIFunction(ShellFunction):
    """An MPI application: ``executor.submit(MPIFunction("./app {case}"), case="a")`` runs it on as many ranks as ``resource_specification`` says.

    The endpoint puts the words of its launcher (mpirun, srun, ...) before the command.

    Args:
        resource_specification: ``num_nodes``, ``ranks_per_node``, ``num_ranks`` (two give the third), ``launcher_options``; by default that of the
            executor.

    The other arguments and the result are those of `ShellFunction`.
    """

    def __init__(self, cmd: str, *, resource_specification: Mapping[str, object] | None = None, **options: Any) -> None:
        super().__init__(cmd, **options)
        self.resources = None if resource_specification is None else resources(resource_specification)
        if self.resources is not None:
            check_ranks(self.cmd, self.resources)

    def __repr__(self) -> str:
        return f"MPIFunction({self.cmd!r})"

    def options(self, options: Options) -> Options:
        """Those of the executor, with this application's own ranks.

        Raises:
            ConfigError: neither says how many.
        """
        if self.resources is not None:
            options = options.but(resource_specification=self.resources)
        check_ranks(self.cmd, options.resource_specification)
        return options

    def __call__(self, **values: Any) -> ShellResult:
        """Run the application here, on the ranks that the endpoint gives it."""
        prefix = os.environ.get("FEDPROXY_MPI_PREFIX")
        if not prefix:
            raise ConfigError(f"{self!r} was given no ranks", hint="submit it with resource_specification={'num_ranks': 4}")
        return self.run(f"{prefix} {self.cmd.format(**values)}")


def check_ranks(cmd: str, wanted: Resources) -> None:
    """Refuse an application without ranks.

    Raises:
        ConfigError: ``wanted`` has none.
    """
    if not wanted.mpi:
        raise ConfigError(f"MPIFunction({cmd!r}) needs ranks", hint="resource_specification={'num_ranks': 4}, or num_nodes and ranks_per_node")
