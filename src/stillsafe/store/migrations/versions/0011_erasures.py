"""Rows of persons can be erased; who did so when, why, and hashes of what, stays."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COUNTS = ("prediction_count", "label_count", "archived_count", "spooled_count", "text_count")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "erasures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", NAME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("salt", NAME, nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False, server_default="0") for name in COUNTS),
        sa.Column("marked_at", sa.DateTime(timezone=True)),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.Column("service_id", sa.Integer(), nullable=False, server_default="1"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index(op.f("ix_erasures_service_id_at"), "erasures", ["service_id", "at"])
    op.create_table(
        "erasure_marks",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("erasure_id", sa.Integer(), nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("feature", NAME),
        sa.Column("hash", NAME, nullable=False),
        sa.Column("row_id", ROW_ID),
        sa.Column("hour", sa.DateTime(timezone=True)),
        sa.Column("model_version", NAME),
        sa.Column("service_id", sa.Integer(), nullable=False, server_default="1"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_marks")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_erasure_marks_erasure_id_hash"), "erasure_marks", ["erasure_id", "hash"])
