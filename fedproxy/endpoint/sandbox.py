"""Functions as they run at an endpoint: in a folder of their own, and with an error of ours where memory ends. For workers: imports little."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from fedproxy.config.workers import Sandbox
from fedproxy.errors import TaskMemoryError

USE_VARIABLE, KEEP_VARIABLE, FOLDER_VARIABLE = "FEDPROXY_SANDBOX", "FEDPROXY_SANDBOX_KEEP", "FEDPROXY_SANDBOX_FOLDER"
MEMORY_VARIABLE = "FEDPROXY_MEMORY_LIMIT"
TASK_VARIABLE = "FEDPROXY_TASK_ID"


def environment_for(sandbox: Sandbox, directory: Path) -> dict[str, str]:
    """Tells workers."""
    return {USE_VARIABLE: sandbox.use, KEEP_VARIABLE: sandbox.keep, FOLDER_VARIABLE: sandbox.folder or str(directory / "tasks")}


@frozen
class Surroundings:
    """What this worker puts around functions."""

    sandbox: Sandbox
    memory_bytes: int = 0

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Surroundings:
        """As the agent told this worker; without a word, nothing."""
        sandbox = Sandbox(environment.get(USE_VARIABLE, "none"), environment.get(KEEP_VARIABLE, "never"), environment.get(FOLDER_VARIABLE, ""))
        return cls(sandbox, int(environment.get(MEMORY_VARIABLE, "0")))

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` in its surroundings; itself where it needs none, so that short calls cost nothing."""
        made = function
        if self.sandbox.use == "all" or (self.sandbox.use == "shell" and getattr(function, "in_sandbox", False)):
            made = functools.partial(_in_folder, made, self.sandbox)
        if self.memory_bytes:
            made = functools.partial(_within_memory, made, self.memory_bytes)
        return made


def _in_folder(function: Callable[..., Any], sandbox: Sandbox, /, *args: Any, **kwargs: Any) -> Any:
    folder = Path(sandbox.folder) / os.environ[TASK_VARIABLE]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(folder)
    failed = True
    try:
        value = function(*args, **kwargs)
        failed = bool(getattr(value, "returncode", 0))
        return value
    finally:
        os.chdir(before)
        if sandbox.keep == "never" or (sandbox.keep == "failed" and not failed):
            shutil.rmtree(folder, ignore_errors=True)


def _within_memory(function: Callable[..., Any], limit_bytes: int, /, *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except TaskMemoryError:
        raise
    except MemoryError as exc:
        raise out_of_memory(limit_bytes) from exc


def out_of_memory(limit_bytes: int) -> TaskMemoryError:
    """What the caller is told."""
    return TaskMemoryError(f"the task wanted more memory than a worker of this endpoint may use ({limit_bytes:,} bytes)",
                           hint="give it less to do at once, or raise memory_per_worker in the endpoint's config.yaml")
