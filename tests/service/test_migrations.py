"""A database of an earlier version is brought up to date where it lies."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from fedproxy.protocol.ids import new_task_id
from fedproxy.protocol.states import TaskState
from fedproxy.service.ledger import Ledger

FIRST = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0001');
CREATE TABLE tokens (digest BLOB NOT NULL PRIMARY KEY, user VARCHAR NOT NULL, created FLOAT NOT NULL);
CREATE TABLE functions (hash BLOB NOT NULL, user VARCHAR NOT NULL, body BLOB NOT NULL, created FLOAT NOT NULL, PRIMARY KEY (hash, user));
CREATE TABLE specs (hash BLOB NOT NULL, user VARCHAR NOT NULL, body BLOB NOT NULL, PRIMARY KEY (hash, user));
CREATE TABLE endpoints (id VARCHAR NOT NULL PRIMARY KEY, user VARCHAR NOT NULL, name VARCHAR NOT NULL, public_key BLOB NOT NULL,
    profile BLOB NOT NULL, epoch INTEGER DEFAULT 0 NOT NULL, journal VARCHAR, boot VARCHAR, seen FLOAT);
CREATE TABLE tasks (seq INTEGER NOT NULL PRIMARY KEY, id BLOB NOT NULL, user VARCHAR NOT NULL, grp VARCHAR NOT NULL, key VARCHAR, spec BLOB NOT NULL,
    endpoint VARCHAR NOT NULL, digest BLOB NOT NULL, state INTEGER NOT NULL, attempt INTEGER NOT NULL, failures INTEGER DEFAULT 0 NOT NULL,
    losses INTEGER DEFAULT 0 NOT NULL, acked INTEGER DEFAULT 0 NOT NULL, created FLOAT NOT NULL, accepted FLOAT NOT NULL, committed FLOAT,
    dispatched FLOAT, done_seq INTEGER, finished FLOAT, times BLOB, needs BLOB, payload BLOB, result BLOB);
CREATE UNIQUE INDEX tasks_id ON tasks (id);
"""
"""As the first version wrote it."""


def test_tasks_of_the_first_schema_are_kept_and_run_with_the_defaults(tmp_path: Path) -> None:
    task_id = new_task_id()
    with closing(sqlite3.connect(tmp_path / "service.db")) as database, database:
        database.executescript(FIRST)
        database.execute("INSERT INTO tasks (seq, id, user, grp, spec, endpoint, digest, state, attempt, created, accepted, payload)"
                         " VALUES (7, ?, 'me', 'g', x'01', 'e', x'02', 0, 0, 1.0, 1.0, x'03')", (task_id,))
    for _ in range(2):  # opening it again changes nothing
        ledger = Ledger(tmp_path / "service.db")
        (task,) = ledger.live(TaskState.QUEUED)
        assert (task.seq, task.id, task.priority, task.deadline, task.not_before, task.memo) == (7, task_id, 0, 0.0, 0.0, b"")
        assert ledger.recall("me", b"anything") is None
        ledger.close()
