"""Space kept back on a disk, so that a full disk stops what is new and nothing else."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from fedproxy.config.home import PRIVATE_FILE

SIZE_BYTES = 8 * 1024 * 1024


class Reserve:
    """A file of real blocks beside a ledger or journal. When the disk is full it is given up, so that what follows from what was taken can still be
    written; until there is room for it again, nothing new is taken. Belongs to whoever writes there."""

    def __init__(self, path: Path, size_bytes: int = SIZE_BYTES) -> None:
        self._path, self._size_bytes = path, size_bytes
        self.held = self.take()

    def take(self) -> bool:
        """Make sure that the space is held; False where the disk has no room for it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
            self.held = True
        except OSError:
            self.give_up()
        finally:
            os.close(descriptor)
        return self.held

    def give_up(self) -> None:
        """Free the space for what must be written."""
        self.held = False
        with suppress(OSError):
            self._path.unlink()
