"""The log keeps the trace that a client named with its request."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Apply."""
    collation = "C" if op.get_bind().dialect.name == "postgresql" else None
    op.add_column("prediction_logs", sa.Column("trace_id", sa.String(collation=collation), nullable=True))
