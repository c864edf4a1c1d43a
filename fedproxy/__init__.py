"""fedproxy runs functions where they should run, and moves the data there by itself."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedproxy.dispatch.api import as_completed as as_completed
    from fedproxy.dispatch.api import gather as gather
    from fedproxy.dispatch.api import get_client as get_client
    from fedproxy.dispatch.api import map as map
    from fedproxy.dispatch.api import submit as submit
    from fedproxy.dispatch.batch import Batch as Batch
    from fedproxy.dispatch.client import Client as Client
    from fedproxy.dispatch.executor import Executor as Executor
    from fedproxy.dispatch.future import TaskFuture as TaskFuture
    from fedproxy.dispatch.mpi import MPIFunction as MPIFunction
    from fedproxy.dispatch.options import Options as Options
    from fedproxy.dispatch.options import memoize as memoize
    from fedproxy.dispatch.redis import get_redis_client as get_redis_client
    from fedproxy.dispatch.runs import report as report
    from fedproxy.dispatch.runs import trace as trace
    from fedproxy.dispatch.shell import ShellFunction as ShellFunction
    from fedproxy.dispatch.shell import ShellResult as ShellResult
    from fedproxy.errors import FedproxyError as FedproxyError
    from fedproxy.proxy import Proxy as Proxy
    from fedproxy.store import Store as Store
    from fedproxy.transfer.remote_file import GlobusFile as GlobusFile
    from fedproxy.transfer.remote_file import RemoteFile as RemoteFile

__version__ = "0.1.0"

_WHERE = {
    "Batch": "fedproxy.dispatch.batch",
    "Client": "fedproxy.dispatch.client",
    "Executor": "fedproxy.dispatch.executor",
    "FedproxyError": "fedproxy.errors",
    "GlobusFile": "fedproxy.transfer.remote_file",
    "MPIFunction": "fedproxy.dispatch.mpi",
    "Options": "fedproxy.dispatch.options",
    "Proxy": "fedproxy.proxy",
    "RemoteFile": "fedproxy.transfer.remote_file",
    "ShellFunction": "fedproxy.dispatch.shell",
    "ShellResult": "fedproxy.dispatch.shell",
    "Store": "fedproxy.store",
    "TaskFuture": "fedproxy.dispatch.future",
    "as_completed": "fedproxy.dispatch.api",
    "gather": "fedproxy.dispatch.api",
    "get_client": "fedproxy.dispatch.api",
    "get_redis_client": "fedproxy.dispatch.redis",
    "map": "fedproxy.dispatch.api",
    "report": "fedproxy.dispatch.runs",
    "memoize": "fedproxy.dispatch.options",
    "submit": "fedproxy.dispatch.api",
    "trace": "fedproxy.dispatch.runs",
}
__all__ = ["__version__", *sorted(_WHERE)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Import on first use: a worker that needs only `Proxy` loads no client."""
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'fedproxy' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
