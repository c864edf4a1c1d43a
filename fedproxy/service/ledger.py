"""The ledger: what is true of every task, in SQLite (WAL, ``synchronous=FULL``).

Strategy: one transaction for all that waits (see `commit`), and in it one statement for many rows, because each statement gives up the
interpreter lock and has to win it back. Reads go through a second connection and see only what is committed.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from alembic import command
from alembic.config import Config
from attrs import define, field

from fedproxy.config.home import PRIVATE_FILE
from fedproxy.protocol.ids import TaskId
from fedproxy.protocol.states import TaskState
from fedproxy.service.rows import AttemptRow, Ending, LiveTask

_T = TypeVar("_T")
_CHUNKS = (128, 32, 8, 1)  # few shapes of statements, so that each is prepared once
_LIVE_COLUMNS = (
    "seq, id, user, grp, spec, endpoint, state, created, accepted, length(payload), attempt, failures, losses, acked, committed, dispatched, needs,"
    " priority, deadline, not_before, memo")
_LIVE_WIDTH = 21


@define
class Transaction:
    """What one commit writes. Each task is in it at most once."""

    inserts: list[LiveTask] = field(factory=list)
    sent: list[LiveTask] = field(factory=list)
    endings: list[Ending] = field(factory=list)
    requeued: list[LiveTask] = field(factory=list)
    acked: list[TaskId] = field(factory=list)
    attempts: list[AttemptRow] = field(factory=list)
    other: list[Callable[[sqlite3.Connection], None]] = field(factory=list)

    def then(self, later: Transaction) -> Transaction:
        """Both in one."""
        return Transaction(
            self.inserts + later.inserts, self.sent + later.sent, self.endings + later.endings, self.requeued + later.requeued,
            self.acked + later.acked, self.attempts + later.attempts, self.other + later.other)

    def __bool__(self) -> bool:
        return bool(self.inserts or self.sent or self.endings or self.requeued or self.acked or self.attempts or self.other)


def _chunks(rows: Sequence[_T]) -> Iterator[Sequence[_T]]:
    start = 0
    for size in _CHUNKS:
        if start == len(rows):
            return  # most transactions have few kinds of rows
        while len(rows) - start >= size:
            yield rows[start:start + size]
            start += size


def open_database(path: Path) -> sqlalchemy.Engine:
    """The database in ``path`` (0600), migrated to the newest schema."""
    path.touch(PRIVATE_FILE, exist_ok=True)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False, "cached_statements": 256})

    @sqlalchemy.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "cache_size=-8192", "wal_autocheckpoint=1000"):
            connection.execute(f"PRAGMA {pragma}")

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return engine


def _raw(engine: sqlalchemy.Engine) -> sqlite3.Connection:
    connection = engine.raw_connection()
    raw: sqlite3.Connection = connection.driver_connection  # type: ignore[assignment]
    connection.detach()
    raw.isolation_level = None
    return raw


class Ledger:
    """Durable truth. ``apply`` belongs to one writer at a time; everything else is for the loop's thread."""

    def __init__(self, path: Path) -> None:
        engine = open_database(path)
        self._write = _raw(engine)
        self._read = _raw(engine)
        engine.dispose()
        self._sql: dict[tuple[str, int], str] = {}

    # ------------------------------------------------------------ writing

    def apply(self, work: Transaction) -> dict[int, tuple[bytes, bytes]]:
        """Write and commit. Returns, for each insert that met an existing id or key, its seq → (existing id, existing digest).

        Raises:
            sqlite3.Error: nothing was written.
        """
        connection = self._write
        connection.execute("BEGIN IMMEDIATE")
        try:
            duplicates = self._insert(work.inserts)
            self._mark_sent(work.sent)
            self._end(work.endings)
            self._requeue(work.requeued)
            self._mark_acked(work.acked)
            self._note_attempts(work.attempts)
            for action in work.other:
                action(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return duplicates

    def _many(self, rows: Sequence[tuple[Any, ...]], template: str) -> int:
        """Run ``template`` (with ``{rows}``) over all rows in few statements; returns the number of changed rows."""
        changed = 0
        for chunk in _chunks(rows):
            shape = (template, len(chunk))
            sql = self._sql.get(shape)
            if sql is None:
                row = "(" + ",".join("?" * len(chunk[0])) + ")"
                sql = self._sql[shape] = template.format(rows=",".join([row] * len(chunk)))
            changed += self._write.execute(sql, [value for row_values in chunk for value in row_values]).rowcount
        return changed

    def _insert(self, tasks: list[LiveTask]) -> dict[int, tuple[bytes, bytes]]:
        now = time.time()
        rows = []
        for t in tasks:
            t.committed = now
            if t.state is TaskState.SENT:
                t.dispatched = now
            rows.append((t.seq, t.id, t.user, t.group, t.key, t.spec, t.endpoint, t.digest, int(t.state), t.attempt,
                         t.created, t.accepted, now, t.dispatched, b"".join(t.needs) or None, t.payload, t.priority, t.deadline or None, t.memo or None))
        changed = self._many(rows, (
            "INSERT INTO tasks (seq, id, user, grp, key, spec, endpoint, digest, state, attempt, created, accepted, committed, dispatched, needs, payload,"
            " priority, deadline, memo)"
            " VALUES {rows} ON CONFLICT DO NOTHING"))
        return {} if changed == len(rows) else self._find_duplicates(tasks)

    def _find_duplicates(self, tasks: list[LiveTask]) -> dict[int, tuple[bytes, bytes]]:
        found: dict[int, tuple[bytes, bytes]] = {}
        for t in tasks:
            row = self._write.execute(
                "SELECT seq, id, digest, user FROM tasks WHERE id = ? OR (user = ? AND key = ?) LIMIT 1", (t.id, t.user, t.key)).fetchone()
            if row[0] != t.seq:
                found[t.seq] = (row[1], row[2] if row[3] == t.user else b"")
        return found

    def _mark_sent(self, tasks: list[LiveTask]) -> None:
        now = time.time()
        for t in tasks:
            t.dispatched = now
        self._many([(t.seq, t.attempt, t.dispatched) for t in tasks], (
            "UPDATE tasks SET state = 1, attempt = v.column2, dispatched = v.column3, acked = 0 FROM (VALUES {rows}) AS v"
            " WHERE tasks.seq = v.column1 AND tasks.state = 0"))

    def _end(self, endings: list[Ending]) -> None:
        self._many([(e.task.seq, int(e.state), e.done_seq, e.finished, e.packed_times(), e.body, int(e.refs)) for e in endings], (
            "UPDATE tasks SET state = v.column2, done_seq = v.column3, finished = v.column4, times = v.column5, result = v.column6, refs = v.column7,"
            " payload = NULL"
            " FROM (VALUES {rows}) AS v WHERE tasks.seq = v.column1 AND tasks.state < 10"))

    def _requeue(self, tasks: list[LiveTask]) -> None:
        self._many([(t.seq, t.attempt, t.failures, t.losses, t.not_before or None) for t in tasks], (
            "UPDATE tasks SET state = 0, attempt = v.column2, failures = v.column3, losses = v.column4, not_before = v.column5, acked = 0"
            " FROM (VALUES {rows}) AS v WHERE tasks.seq = v.column1 AND tasks.state < 10"))

    def _mark_acked(self, ids: list[TaskId]) -> None:
        self._many([(task_id,) for task_id in ids], "UPDATE tasks SET acked = 1 FROM (VALUES {rows}) AS v WHERE tasks.id = v.column1 AND tasks.state = 1")

    def _note_attempts(self, rows: list[AttemptRow]) -> None:
        self._many([(r.seq, r.attempt, int(r.state), r.finished, r.reason, r.worker, r.output) for r in rows], "INSERT OR REPLACE INTO attempts VALUES {rows}")

    # ------------------------------------------------------------ reading

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query over what is committed."""
        return self._read.execute(sql, values).fetchall()

    def highest(self) -> tuple[int, int]:
        """The last used ``seq`` and ``done_seq``."""
        ((seq, done_seq),) = self.rows("SELECT coalesce(max(seq), 0), (SELECT coalesce(max(done_seq), 0) FROM tasks WHERE done_seq IS NOT NULL) FROM tasks")
        return seq, done_seq

    def live_by_user(self) -> dict[str, int]:
        """How many tasks of each user are not over."""
        return dict(self.rows("SELECT user, count(*) FROM tasks WHERE state < 10 GROUP BY user"))

    def live(self, state: TaskState) -> Iterator[LiveTask]:
        """All tasks in a state that is not terminal, in order of submission, without payloads."""
        sql = f"SELECT {_LIVE_COLUMNS} FROM tasks WHERE state < 10 AND state = ? ORDER BY seq"  # noqa: S608 - constants
        for row in self._read.execute(sql, (int(state),)):
            yield _live_task(row)

    def load(self, seqs: Iterable[int], *, payloads: bool) -> list[LiveTask]:
        """These tasks if they are not terminal, in order of submission."""
        found: list[LiveTask] = []
        pending = iter(seqs)
        columns = _LIVE_COLUMNS + (", payload" if payloads else "")
        while batch := list(islice(pending, 500)):
            marks = ",".join("?" * len(batch))
            found += map(_live_task, self.rows(f"SELECT {columns} FROM tasks WHERE seq IN ({marks}) AND state < 10 ORDER BY seq", batch))  # noqa: S608
        return found

    def find(self, user: str, ids: Iterable[bytes]) -> list[LiveTask]:
        """The user's tasks of these ids if they are not terminal, in order of submission, without payloads."""
        found: list[LiveTask] = []
        pending = iter(ids)
        while batch := list(islice(pending, 500)):
            marks = ",".join("?" * len(batch))
            sql = f"SELECT {_LIVE_COLUMNS} FROM tasks WHERE id IN ({marks}) AND user = ? AND state < 10 ORDER BY seq"  # noqa: S608 - constants
            found += map(_live_task, self.rows(sql, [*batch, user]))
        return found

    def states(self, user: str, ids: Iterable[bytes]) -> dict[bytes, TaskState]:
        """The states of those that are tasks of this user."""
        found: dict[bytes, TaskState] = {}
        pending = iter(ids)
        while batch := list(islice(pending, 500)):
            marks = ",".join("?" * len(batch))
            rows = self.rows(f"SELECT id, state FROM tasks WHERE id IN ({marks}) AND user = ?", [*batch, user])  # noqa: S608 - constants
            found.update((i, TaskState(state)) for i, state in rows)
        return found

    def recall(self, user: str, memo: bytes) -> tuple[TaskId, bytes, bool] | None:
        """The last task of this user that had a value for ``memo``: its id, the value, and whether that leads to objects in stores."""
        sql = "SELECT id, result, refs FROM tasks WHERE user = ? AND memo = ? AND state = 10 ORDER BY done_seq DESC LIMIT 1"
        for task_id, result, refs in self.rows(sql, (user, memo)):
            return TaskId(task_id), result or b"", bool(refs)
        return None

    def results(self, ids: Iterable[bytes]) -> dict[bytes, bytes]:
        """The results of these tasks, of those that succeeded."""
        found: dict[bytes, bytes] = {}
        pending = iter(ids)
        while batch := list(islice(pending, 500)):
            marks = ",".join("?" * len(batch))
            found.update(self.rows(f"SELECT id, result FROM tasks WHERE id IN ({marks}) AND state = 10", batch))  # noqa: S608
        return found

    def close(self) -> None:
        """Close both connections. Idempotent."""
        self._read.close()
        self._write.close()


def _live_task(row: Sequence[Any]) -> LiveTask:
    (seq, task_id, user, group, spec, endpoint, state, created, accepted, size, attempt, failures, losses, acked, committed, dispatched,
     needs, priority, deadline, not_before, memo) = row[:_LIVE_WIDTH]
    return LiveTask(
        seq=seq, id=TaskId(task_id), user=user, group=group, spec=spec, endpoint=endpoint, state=TaskState(state), created=created,
        accepted=accepted, size=size or 0, payload=row[_LIVE_WIDTH] if len(row) > _LIVE_WIDTH else None, attempt=attempt, failures=failures, losses=losses,
        acked=bool(acked), committed=committed or 0.0, dispatched=dispatched or 0.0,
        needs=tuple(needs[i:i + 16] for i in range(0, len(needs), 16)) if needs else (), priority=priority, deadline=deadline or 0.0,
        not_before=not_before or 0.0, memo=memo or b"")
