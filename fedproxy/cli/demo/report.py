"""What the demo says: progress while it runs, a table at the end, or one JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from attrs import asdict, frozen
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from fedproxy.cli import output
from fedproxy.cli.demo.account import Stage

T = TypeVar("T")


@frozen
class Told:
    """Everything the demo found out."""

    text_title: str
    text_bytes: int
    words: int
    distinct_words: int
    count_is_right: bool
    array_bytes: int
    array_is_right: bool
    plain_count_s: float
    stages: tuple[Stage, ...]
    picture: Path
    demo_s: float

    @property
    def correct(self) -> bool:
        """Whether both answers equal the plain computation's."""
        return self.count_is_right and self.array_is_right


class Progress:
    """Progress bars on standard error; silent where nobody watches."""

    def __init__(self, *, quiet: bool) -> None:
        self._bars = RichProgress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(),
            TimeElapsedColumn(), console=Console(stderr=True), disable=quiet,
        )

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def over(self, title: str, items: Iterable[T], *, total: int) -> Iterator[T]:
        """Pass ``items`` through, one tick each."""
        bar = self._bars.add_task(title, total=total)
        for item in items:
            yield item
            self._bars.advance(bar)

    def step(self, title: str) -> Step:
        """A step that is either under way or done."""
        return Step(self._bars, title)


class Step:
    """One line of progress, done when its block ends."""

    def __init__(self, bars: RichProgress, title: str) -> None:
        self._bars, self._bar = bars, bars.add_task(title, total=1)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._bars.advance(self._bar)


def print_report(told: Told) -> None:
    """The table, whether the answers are right, and where the picture is."""
    output.say(
        f"Text: {told.text_title}, {output.human_bytes(told.text_bytes)}; "
        f"{told.words:,} words, {told.distinct_words:,} different"
    )
    output.table(
        "What it took", ("stage", "tasks", "seconds", "bytes via service", "bytes via stores"),
        [
            (stage.title, stage.tasks, f"{stage.seconds:.2f}", f"{stage.service_bytes:,}", f"{stage.store_bytes:,}")
            for stage in told.stages
        ],
        right=("tasks", "seconds", "bytes via service", "bytes via stores"),
    )
    output.say(
        f"Word count {'equals' if told.count_is_right else 'DIFFERS FROM'} the plain single-process count "
        f"(that took {told.plain_count_s:.2f} s)."
    )
    same = "the same numbers as" if told.array_is_right else "OTHER NUMBERS THAN"
    output.say(f"Array job: both ways give {same} numpy in this process.")
    output.say("By value: the service's payload limit was raised for this comparison only.")
    output.say(f"Picture: {told.picture}   Demo: {told.demo_s:.1f} s; nothing of it is left running.")


def as_dict(told: Told) -> dict[str, object]:
    """For ``--json``."""
    return {**asdict(told), "picture": str(told.picture), "correct": told.correct}
