"""The log keeps a salted hash of the client that sent a request."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Apply."""
    for table in ("prediction_logs", "refusals"):
        collation = "C" if op.get_bind().dialect.name == "postgresql" else None
        op.add_column(table, sa.Column("source", sa.String(collation=collation), nullable=True))
