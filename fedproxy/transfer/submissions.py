"""Globus tasks that somebody waits for, kept on disk: who comes after a kill takes them up instead of having the same files sent twice.

Strategy: what is asked for is written down with its submission id before it is asked. Globus makes one task of a submission id, however often it
hears of it: asking again with what was written down leads back to the task that runs.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import asdict, field, frozen

from fedproxy.config.home import write_private

_KEPT_S = 24 * 3600.0
Pair = tuple[str, str]
"""Where a file lies in the source collection, and where it goes in the other."""


@frozen
class Submission:
    """One task."""

    id: str
    source: str
    target: str
    pairs: tuple[Pair, ...]
    since: float = field(factory=time.time)


class Submissions:
    """One stager's. Thread-safe."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._waited_for: dict[str, Submission] = {}
        self._left = _load(path)

    def begin(self, submission: Submission) -> None:
        """It is about to be asked for."""
        with self._lock:
            self._waited_for[submission.id] = submission
            self._save()

    def end(self, submission: Submission) -> None:
        """It is over, or nobody wants it any more."""
        with self._lock:
            self._waited_for.pop(submission.id, None)
            self._save()

    def leave(self, submission: Submission) -> None:
        """Whether it was heard is not known: the next one who wants this asks again."""
        with self._lock:
            self._left[submission.id] = self._waited_for.pop(submission.id, submission)

    def take_up(self, source: str, target: str, wanted: Collection[Pair]) -> list[Submission]:
        """What was asked for before and nobody saw the end of, as far as it brings something that is wanted. For one caller only."""
        with self._lock:
            found = [each for each in self._left.values() if (each.source, each.target) == (source, target) and not set(wanted).isdisjoint(each.pairs)]
            for each in found:
                self._waited_for[each.id] = self._left.pop(each.id)
            return found

    def _save(self) -> None:
        if self._path is not None:
            with suppress(OSError):
                write_private(self._path, json.dumps([asdict(each) for each in (*self._left.values(), *self._waited_for.values())]).encode())


def _load(path: Path | None) -> dict[str, Submission]:
    if path is None:
        return {}
    try:
        rows: list[Mapping[str, object]] = json.loads(path.read_bytes())
        found = [Submission(**{**row, "pairs": tuple((source, target) for source, target in row["pairs"])}) for row in rows]  # type: ignore[arg-type,attr-defined]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return {each.id: each for each in found if each.since > time.time() - _KEPT_S}
