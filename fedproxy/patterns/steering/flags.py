"""An event that wakes those who wait for something else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_S = 0.05
"""How often a plain `threading.Event` is looked at."""


class Flag(threading.Event):
    """A `threading.Event` that also tells whoever asked to be told: nobody has to look every second whether it is set."""

    def __init__(self) -> None:
        super().__init__()
        self._told: list[Callable[[], None]] = []
        self._telling = threading.Lock()

    def set(self) -> None:
        """Set it, wake all who wait for it, and tell the others."""
        super().set()
        with self._telling:
            told = list(self._told)
        for tell in told:
            tell()

    @contextmanager
    def telling(self, tell: Callable[[], None]) -> Iterator[None]:
        """Within the block, ``tell`` is called when the flag is set; at once where it is set already."""
        with self._telling:
            self._told.append(tell)
        try:
            if self.is_set():
                tell()
            yield
        finally:
            with self._telling:
                self._told.remove(tell)

    def wait_or(self, other: threading.Event) -> bool:
        """Wait until this flag or ``other`` is set. Whether this one is, and ``other`` is not."""
        changed = threading.Event()
        with self.telling(changed.set):
            if isinstance(other, Flag):
                with other.telling(changed.set):
                    changed.wait()
            else:
                while not changed.wait(_LOOK_S) and not other.is_set():
                    pass
        return self.is_set() and not other.is_set()
