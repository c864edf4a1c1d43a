"""The database schema, in SQLAlchemy Core. Times are seconds since the epoch by the service's clock."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, text

metadata = MetaData()

tokens = Table(
    "tokens", metadata,
    Column("digest", LargeBinary(32), primary_key=True),  # SHA-256: the token itself is never stored
    Column("user", String, nullable=False),
    Column("created", Float, nullable=False),
)

functions = Table(
    "functions", metadata,
    Column("hash", LargeBinary(32), primary_key=True),
    Column("user", String, primary_key=True),  # who may call it; a body registered by two users is stored for each
    Column("body", LargeBinary, nullable=False),
    Column("created", Float, nullable=False),
)

specs = Table(
    "specs", metadata,
    Column("hash", LargeBinary(16), primary_key=True),
    Column("user", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

endpoints = Table(
    "endpoints", metadata,
    Column("id", String, primary_key=True),
    Column("user", String, nullable=False),
    Column("name", String, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("profile", LargeBinary, nullable=False),  # JSON: site, stores, python, ...; never a secret
    Column("epoch", Integer, nullable=False, server_default=text("0")),
    Column("journal", String),
    Column("boot", String),
    Column("seen", Float),
    Index("endpoints_name", "user", "name", unique=True),
)

replicas = Table(
    "replicas", metadata,
    Column("user", String, primary_key=True),
    Column("object", String, primary_key=True),
    Column("store", String, primary_key=True),
    Column("site", String, nullable=False),
    Column("key", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("digest", String, nullable=False),
    Column("expires", Float, nullable=False),
    Index("replicas_expires", "expires"),
)

transfers = Table(
    "transfers", metadata,
    Column("user", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("started", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),  # JSON: from where, to where, by which route, how it ended
    Index("transfers_started", "user", "started"),
)

tasks = Table(
    "tasks", metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("id", LargeBinary(16), nullable=False),
    Column("user", String, nullable=False),
    Column("grp", String, nullable=False),
    Column("key", String),
    Column("spec", LargeBinary(16), nullable=False),
    Column("endpoint", String, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    Column("state", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("losses", Integer, nullable=False, server_default=text("0")),
    Column("acked", Integer, nullable=False, server_default=text("0")),
    Column("created", Float, nullable=False),
    Column("accepted", Float, nullable=False),
    Column("committed", Float),
    Column("dispatched", Float),
    Column("done_seq", Integer),
    Column("finished", Float),
    Column("times", LargeBinary),  # the endpoint's four stations and bytes moved, msgpack
    Column("needs", LargeBinary),  # ids of tasks, end to end
    Column("payload", LargeBinary),  # the arguments; dropped when the task is terminal
    Column("result", LargeBinary),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("deadline", Float),  # not started by then: EXPIRED
    Column("not_before", Float),  # the next attempt waits for that
    Column("memo", LargeBinary),  # the name of the call by its content
    Column("refs", Integer, nullable=False, server_default=text("0")),  # the result leads to objects in stores
    Index("tasks_id", "id", unique=True),
    Index("tasks_key", "user", "key", unique=True, sqlite_where=text("key IS NOT NULL"), postgresql_where=text("key IS NOT NULL")),
    Index("tasks_done", "grp", "done_seq", sqlite_where=text("done_seq IS NOT NULL"), postgresql_where=text("done_seq IS NOT NULL")),
    Index("tasks_memo", "user", "memo", sqlite_where=text("memo IS NOT NULL"), postgresql_where=text("memo IS NOT NULL")),
    Index("tasks_live", "endpoint", "seq", sqlite_where=text("state < 10"), postgresql_where=text("state < 10")),
)

attempts = Table(  # of tasks that wrote something or were tried again: most tasks have no row
    "attempts", metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("state", Integer, nullable=False),
    Column("finished", Float, nullable=False),
    Column("reason", String, nullable=False),
    Column("worker", String, nullable=False),
    Column("output", LargeBinary),  # msgpack of `Output`
)
