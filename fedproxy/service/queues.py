"""What waits for each endpoint. Queues hold places in the ledger, and can be rebuilt from it; a bounded number of tasks is kept whole.

Strategy: each user's tasks by priority, the users in turn, so that nobody's thousands hold up anybody's one. A task that is taken out or gets another
priority is not looked for: its entry is passed over when it comes up. When most entries are such, they are swept out.
"""

from __future__ import annotations

from collections import defaultdict, deque

from attrs import define, field

from fedproxy.protocol.ranked import Ranked
from fedproxy.protocol.states import TaskState
from fedproxy.service.rows import LiveTask

_HOT_TASKS = 20_000
_HOT_BYTES = 64 * 1024 * 1024
_SWEEP_FROM = 1_000

Entry = LiveTask | int


@define(eq=False)
class _Line:
    """All that waits for one endpoint."""

    users: dict[str, Ranked[Entry]] = field(factory=dict)
    turns: deque[str] = field(factory=deque)
    """Users with entries, in the order of their turns."""
    length: int = 0
    """Entries that count."""
    entries: int = 0

    def ranked(self, user: str) -> Ranked[Entry]:
        self.length += 1
        self.entries += 1
        ranked = self.users.get(user)
        if ranked is None:
            ranked = self.users[user] = Ranked()
            self.turns.append(user)
        return ranked

    def pop(self) -> tuple[Entry, int]:
        user = self.turns[0]
        ranked = self.users[user]
        entry = ranked.pop()
        self.entries -= 1
        if not ranked:
            del self.users[user]
            self.turns.popleft()
        elif len(self.turns) > 1:
            self.turns.rotate(-1)
        return entry

    def sweep(self, gone: dict[tuple[int, int], int]) -> list[Entry]:
        def passed_over(entry: Entry, priority: int) -> bool:
            return _passed_over(gone, entry, priority)

        found = [entry for ranked in self.users.values() for entry in ranked.take_out(passed_over)]
        self.entries -= len(found)
        self.users = {user: ranked for user, ranked in self.users.items() if ranked}
        self.turns = deque(user for user in self.turns if user in self.users)
        return found


def _seq(entry: Entry) -> int:
    return entry if isinstance(entry, int) else entry.seq


def _passed_over(gone: dict[tuple[int, int], int], entry: Entry, priority: int) -> bool:
    """Whether this entry does not count any more; it is struck off then."""
    place = (_seq(entry), priority)
    left = gone.get(place)
    if left is None:
        return False
    if left == 1:
        del gone[place]
    else:
        gone[place] = left - 1
    return True


class Queues:
    """One queue for each endpoint; what comes back goes first among its equals."""

    def __init__(self) -> None:
        self._lines: defaultdict[str, _Line] = defaultdict(_Line)
        self._gone: dict[tuple[int, int], int] = {}
        """(place, priority) → how many entries of it are to be passed over."""
        self._moved: dict[int, int] = {}
        """Place → priority, of those that got another one while they wait."""
        self._hot_tasks = 0
        self._hot_bytes = 0

    def append(self, task: LiveTask) -> None:
        """Put a task last among its equals."""
        self._lines[task.endpoint].ranked(task.user).push(self._admit(task), task.priority)

    def append_cold(self, task: LiveTask) -> None:
        """The same with a task that is only on disk."""
        self._lines[task.endpoint].ranked(task.user).push(task.seq, task.priority)

    def put_back(self, task: LiveTask) -> None:
        """Put a task first among its equals."""
        self._lines[task.endpoint].ranked(task.user).push_front(self._admit(task), task.priority)

    def length(self, endpoint: str) -> int:
        """How many wait."""
        line = self._lines.get(endpoint)
        return max(0, line.length) if line is not None else 0

    def position(self, endpoint: str, user: str, seq: int) -> int | None:
        """How many of the user's tasks wait before the one at this place in the ledger; None if it does not wait."""
        line = self._lines.get(endpoint)
        ranked = line.users.get(user) if line is not None else None
        before = 0
        for entry, priority in ranked.items() if ranked is not None else ():
            if (_seq(entry), priority) in self._gone:
                continue
            if _seq(entry) == seq:
                return before
            before += 1
        return None

    def take(self, endpoint: str, most: int) -> list[Entry]:
        """Take up to ``most`` from the front, in order: tasks, and places of those to be loaded."""
        line = self._lines.get(endpoint)
        taken: list[Entry] = []
        while line is not None and line.turns and len(taken) < most:
            entry, priority = line.pop()
            if not isinstance(entry, int):
                self._cool(entry)
            if self._gone and _passed_over(self._gone, entry, priority):
                continue
            line.length -= 1
            if self._moved:
                self._moved.pop(_seq(entry), None)
            if isinstance(entry, int):
                taken.append(entry)
            elif entry.state is TaskState.QUEUED:
                entry.priority = priority
                taken.append(entry)
        return taken

    def remove(self, task: LiveTask) -> None:
        """Take out a task that waits, wherever."""
        priority = self._moved.pop(task.seq, task.priority)
        line = self._lines[task.endpoint]
        line.length -= 1
        self._pass_over(line, task.seq, priority)

    def move(self, task: LiveTask, priority: int) -> None:
        """Give another priority to a task that waits: it goes last among its new equals."""
        before = self._moved.get(task.seq, task.priority)
        if before == priority:
            return
        self._moved[task.seq] = priority
        line = self._lines[task.endpoint]
        line.ranked(task.user).push(task.seq, priority)
        line.length -= 1
        self._pass_over(line, task.seq, before)

    def _pass_over(self, line: _Line, seq: int, priority: int) -> None:
        self._gone[seq, priority] = self._gone.get((seq, priority), 0) + 1
        if line.entries > _SWEEP_FROM and line.entries > 2 * line.length:
            for entry in line.sweep(self._gone):
                if not isinstance(entry, int):
                    self._cool(entry)

    def _admit(self, task: LiveTask) -> Entry:
        if task.payload is None or self._hot_tasks >= _HOT_TASKS or self._hot_bytes + len(task.payload) > _HOT_BYTES:
            return task.seq
        self._hot_tasks += 1
        self._hot_bytes += len(task.payload)
        return task

    def _cool(self, task: LiveTask) -> None:
        self._hot_tasks -= 1
        self._hot_bytes -= len(task.payload or b"")
