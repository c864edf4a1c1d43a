"""``python -m``: HTEX's interchange, which excuses its own pauses.

Parsl's own counts the time in which it stood still itself (a suspended or overloaded login node) as its managers' silence and drops them all;
with the short thresholds that find a lost node within seconds this would cost every block.
"""

from __future__ import annotations

import pickle
import sys
import time
from typing import Any

from parsl.executors.high_throughput.interchange import Interchange

from fedproxy.protocol.liveness import own_pause

_LOOKS_EVERY_S = 0.5


class PatientInterchange(Interchange):
    """Drops managers that were silent while it listened."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._looked = time.monotonic()

    def expire_bad_managers(self, *arguments: Any) -> None:
        """See Parsl; times of silence are moved by our own pause."""
        now = time.monotonic()
        pause_s = own_pause(now, self._looked, _LOOKS_EVERY_S)
        self._looked = now
        if pause_s:
            for manager in self._ready_managers.values():
                manager["last_heartbeat"] += pause_s
        super().expire_bad_managers(*arguments)


def main() -> None:
    """As Parsl starts it: the configuration comes on standard input."""
    PatientInterchange(**pickle.load(sys.stdin.buffer)).start()  # from our own parent


if __name__ == "__main__":
    main()
