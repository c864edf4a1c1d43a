"""A bar for what a client fetches, on a terminal, when it takes a while."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedproxy.transfer.stager import Stager

_PATIENCE_S = 1.0
_TICK_S = 0.2


@contextmanager
def shown(stager: Stager, total_bytes: int) -> Iterator[None]:
    """While the block runs for more than a second, show how far the stager's transfers are. Not a terminal: nothing."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_draw, args=(stager, total_bytes, over), name="fedproxy-bars", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _draw(stager: Stager, total_bytes: int, over: threading.Event) -> None:
    if over.wait(_PATIENCE_S):
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars = {}
        while not over.wait(_TICK_S):
            for entry in stager.transfers():
                if entry.state in ("queued", "moving") and entry.id not in bars:
                    bars[entry.id] = progress.add_task(f"from {entry.wanted.origin.site} by {entry.route or '?'}", total=entry.wanted.size or total_bytes)
                if entry.id in bars:
                    progress.update(bars[entry.id], completed=entry.done)
