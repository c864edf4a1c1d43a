"""What the subjects of one driver process share: a cluster, a server connection."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Host:
    """Opens what is shared once, and closes all in reverse order."""

    def __init__(self, directory: Path, workers: int) -> None:
        self.directory = directory
        """A temporary folder of this driver's own."""
        self.workers = workers
        self._stack = ExitStack()
        self._shared: dict[Callable[..., Any], Any] = {}

    def shared(self, make: Callable[[Host], AbstractContextManager[T]]) -> T:
        """What ``make(self)`` gives on entering; made by the first who asks."""
        if make not in self._shared:
            self._shared[make] = self._stack.enter_context(make(self))
        found: T = self._shared[make]
        return found

    def own(self, manager: AbstractContextManager[T]) -> T:
        """Enter ``manager`` now and leave it when the driver ends."""
        return self._stack.enter_context(manager)

    def close(self) -> None:
        """Release everything; idempotent."""
        self._shared.clear()
        self._stack.close()
