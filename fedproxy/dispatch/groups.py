"""The task groups that this process has submitted to: what a report is about when it names none."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedproxy.dispatch.client import Client

_lock = threading.Lock()
_groups: dict[str, Client] = {}


def note(client: Client, group: str) -> None:
    """This process has tasks in that group."""
    with _lock:
        _groups[group] = client


def groups_of_this_process() -> dict[str, Client]:
    """Group → the client that submitted to it."""
    with _lock:
        return dict(_groups)
