"""Watches how much memory a task's processes take together. The kernel holds each of them to the limit by itself (see `berth`)."""

from __future__ import annotations

from contextlib import suppress

import psutil

from fedproxy.config.endpoint import LocalEngine
from fedproxy.config.sizes import size_bytes
from fedproxy.endpoint.sandbox import out_of_memory
from fedproxy.errors import TaskMemoryError

MEMORY_PERIOD_S = 0.5


class MemoryWatch:
    """``limit_bytes`` is 0 where nobody needs to be watched."""

    def __init__(self, config: LocalEngine) -> None:
        self.limit_bytes = size_bytes(config.memory_per_worker) if config.memory_per_worker else 0

    def is_over(self, pid: int) -> bool:
        """Whether the process and all that it started take more than the limit: memory of their own, not what is shared."""
        with suppress(psutil.Error):
            worker = psutil.Process(pid)
            return sum(_own_bytes(each) for each in (worker, *worker.children(recursive=True))) > self.limit_bytes
        return False

    def error(self) -> TaskMemoryError:
        """What the caller is told."""
        return out_of_memory(self.limit_bytes)


def _own_bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    return 0
