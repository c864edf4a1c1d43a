"""Priorities, deadlines, delayed attempts, and values by the content of their calls."""

import sqlalchemy as sa
from alembic import op

from fedproxy.service.schema import tasks

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ADDED = ("priority", "deadline", "not_before", "memo", "refs")


def upgrade() -> None:
    """Add what a database that was made by an earlier version lacks (a new one has it from the start)."""
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("tasks")}
    for name in _ADDED:
        if name not in there:
            column = tasks.c[name]
            op.add_column("tasks", sa.Column(name, column.type, nullable=column.nullable, server_default=column.server_default))
    op.execute("CREATE INDEX IF NOT EXISTS tasks_memo ON tasks (user, memo) WHERE memo IS NOT NULL")


def downgrade() -> None:
    """Remove them."""
    op.execute("DROP INDEX IF EXISTS tasks_memo")
    with op.batch_alter_table("tasks") as table:
        for name in _ADDED:
            table.drop_column(name)
