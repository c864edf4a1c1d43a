"""Copies of objects, and transfers."""

from alembic import op

from fedproxy.service.schema import replicas, transfers

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables where a new database has not got them already."""
    for table in (replicas, transfers):
        table.create(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    """Drop them."""
    for table in (replicas, transfers):
        table.drop(op.get_bind(), checkfirst=True)
