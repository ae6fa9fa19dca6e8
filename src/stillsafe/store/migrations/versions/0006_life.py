"""An incident says when the model answers again."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("incidents") as batch_op:
        batch_op.add_column(sa.Column("fallback_ended_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("fallback_ended_reason", sa.Text(), nullable=True))
