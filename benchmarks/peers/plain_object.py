"""No proxy at all: the limit of using a resolved one."""

from __future__ import annotations

from typing import Any

from benchmarks.host import Host


class PlainObjects:
    """The objects themselves."""

    def wrap(self, target: Any) -> Any:
        return target


def kit(host: Host) -> PlainObjects:
    """Nothing to start."""
    return PlainObjects()
