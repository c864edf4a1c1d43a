"""A bar for each stage, on standard error, where somebody watches."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
    """Silent unless ``show``; None asks whether standard error is a terminal."""

    def __init__(self, show: bool | None) -> None:
        quiet = not (sys.stderr.isatty() if show is None else show)
        self._bars = RichProgress(
            SpinnerColumn(), TextColumn("{task.description:<8}"), BarColumn(bar_width=32), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), console=Console(stderr=True), disable=quiet)
        self._known: dict[str, TaskID] = {}

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._bars.stop()

    def expect(self, stage: str, total: int) -> None:
        """A stage of ``total`` tasks begins."""
        if stage not in self._known:
            self._known[stage] = self._bars.add_task(stage, total=total)

    def advance(self, stage: str) -> None:
        """A task of it has ended."""
        self._bars.advance(self._known[stage])
