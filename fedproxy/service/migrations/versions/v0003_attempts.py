"""How the attempts of a task ended, and what they wrote."""

from alembic import op

from fedproxy.service.schema import attempts

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, unless the first schema was made with it."""
    attempts.create(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    """Drop it."""
    attempts.drop(op.get_bind())
