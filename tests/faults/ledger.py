"""The ledger: what was submitted, acknowledged, executed, seen and returned, written down outside fedproxy; and the proof that the contract held.

Strategy: one append-only file of JSON lines for all that the client side sees, one for what tasks say of themselves (one ``write`` each, so that
a killed worker leaves a whole line or none). `violations` is pure: it reads both and names every broken promise.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from fedproxy.protocol.states import MOVES, TaskState


def value_of(number: int) -> int:
    """What the task of that number returns, if nothing goes wrong."""
    return number * number + 1


def work(path: str, number: int, sleep_s: float = 0.0) -> int:
    """The task: says that it runs before it does anything else."""
    import os
    import time

    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, b"%d\n" % number)
    os.close(descriptor)
    if sleep_s:
        time.sleep(sleep_s)
    return number * number + 1


@frozen
class Promise:
    """What was promised for the tasks of one run."""

    executions_at_most: int = 1
    lost_at_most: int | None = None
    """None: as many as there are."""
    ends_allowed: frozenset[str] = frozenset({"SUCCEEDED", "LOST"})


@define
class Story:
    """All that is known of one key."""

    submitted: int = 0
    acknowledged: set[str] = field(factory=set)
    states: list[tuple[int, str]] = field(factory=list)
    """(attempt, state) as the service answered, in the order of the answers; attempt -1: the answer did not say."""
    pushed: set[str] = field(factory=set)
    """Endings that were pushed to the client."""
    value: Any = None
    tasks: set[str] = field(factory=set)
    """Ids of tasks that the service has under this key at the end."""


@frozen
class Remains:
    """What is left when every task has ended: all must be empty."""

    tables: Mapping[str, int]


_LINE = threading.Lock()


class Ledger:
    """Writes down; never asks fedproxy."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.executions_path = directory / "executions"
        self.executions_path.touch()
        self._path = directory / "ledger.jsonl"
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, what: str, key: int, **more: object) -> None:
        """One fact. It is in the file before anything else happens."""
        with _LINE:
            os.write(self._file, (json.dumps({"what": what, "key": key, **more}) + "\n").encode())

    def executions(self) -> Counter[int]:
        """Key → how often the task ran."""
        return Counter(int(line) for line in self.executions_path.read_text().split())

    def stories(self) -> dict[int, Story]:
        """Everything that was written down, by key."""
        stories: defaultdict[int, Story] = defaultdict(Story)
        for line in self._path.read_text().split("\n")[:-1]:  # what another thread is just writing is not there yet
            entry = json.loads(line)
            _tell(stories[entry["key"]], entry)
        return dict(stories)

    def close(self) -> None:
        os.close(self._file)


def _tell(story: Story, entry: dict[str, Any]) -> None:
    match entry["what"]:
        case "submit":
            story.submitted += 1
        case "acknowledged":
            story.acknowledged.add(entry["id"])
        case "state":
            story.states.append((entry.get("attempt", -1), entry["state"]))
        case "pushed":
            story.pushed.add(entry["state"])
        case "value":
            story.value = entry["value"]
        case "task":
            story.tasks.add(entry["id"])


def violations(stories: Mapping[int, Story], executions: Mapping[int, int], remains: Remains, promise: Promise) -> list[str]:
    """Every broken promise, in words. Empty: the contract held."""
    found: list[str] = []
    for key, story in sorted(stories.items()):
        found += (f"key {key}: {text}" for text in _broken(story, key, executions.get(key, 0), promise))
    found += (f"key {key} ran but was never submitted" for key in executions if key not in stories)
    lost = sum(story.states[-1][1] == "LOST" for story in stories.values() if story.states)
    if promise.lost_at_most is not None and lost > promise.lost_at_most:
        found.append(f"{lost} tasks were lost, {promise.lost_at_most} at most may be")
    found += (f"left at the end: {count} in {table}" for table, count in remains.tables.items() if count)
    return found


def _broken(story: Story, key: int, runs: int, promise: Promise) -> Iterable[str]:
    if len(story.tasks) > 1 or len(story.acknowledged) > 1:
        yield f"has more than one id: tasks {sorted(story.tasks)}, acknowledged {sorted(story.acknowledged)}"
    if runs > promise.executions_at_most:
        yield f"ran {runs} times, {promise.executions_at_most} at most were allowed"
    if not story.acknowledged:
        yield from () if story.tasks or not runs else (f"ran {runs} times and is not known to the service",)
    elif story.tasks != story.acknowledged:
        yield f"was acknowledged as {sorted(story.acknowledged)}, but the service has {sorted(story.tasks) or 'nothing'}"
    if not story.tasks:
        return
    last = story.states[-1][1] if story.states else "never seen"
    ends = {state for _, state in story.states if state in ENDS} | story.pushed
    if last not in promise.ends_allowed:
        yield f"ended {last}"
    if len(ends) > 1:
        yield f"has more than one ending: {sorted(ends)}"
    if last == "SUCCEEDED" and story.value != value_of(key):
        yield f"has the value {story.value!r}, not {value_of(key)}"
    if last == "SUCCEEDED" and not runs:
        yield "succeeded without having run"
    yield from _backwards(story.states)


ENDS = frozenset(state.name for state in TaskState if state.terminal)


def _reachable() -> dict[str, frozenset[str]]:
    """State → all states that may be seen after it, by any number of legal moves."""
    after = {state: set(MOVES[state]) | {state} for state in TaskState}
    for _ in TaskState:
        for states in after.values():
            states |= set().union(*(after[s] for s in tuple(states)))
    return {state.name: frozenset(s.name for s in states) for state, states in after.items()}


REACHABLE = _reachable()


def _backwards(states: list[tuple[int, str]]) -> Iterable[str]:
    attempt = -1
    for (_, before), (_, after) in pairwise(states):
        if after not in REACHABLE[before]:
            yield f"was seen to go from {before} to {after}"
    for seen, _ in states:
        if 0 <= seen < attempt:
            yield f"was seen to go from attempt {attempt} to {seen}"
        attempt = max(attempt, seen)
