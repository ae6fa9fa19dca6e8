"""Clients give their requests ids, and labels come in."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "request_ids",
        _service_id(),
        sa.Column("id", NAME, nullable=False),
        sa.Column("body_hash", NAME, nullable=False),
        sa.Column("prediction_id", NAME, nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("service_id", "id", name=op.f("pk_request_ids")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_request_ids_timestamp_prediction_id"), "request_ids", ["timestamp", "prediction_id"])
    op.create_table(
        "request_duplicates",
        sa.Column("prediction_id", NAME, nullable=False),
        sa.Column("id", NAME, nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        _service_id(),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_request_duplicates")),
    )
    op.create_index(op.f("ix_request_duplicates_service_id_id"), "request_duplicates", ["service_id", "id"])
    op.create_table(
        "labels",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("prediction_id", NAME, nullable=False),
        sa.Column("label", NAME, nullable=False),
        sa.Column("arrived_at", sa.DateTime(timezone=True), nullable=False),
        _service_id(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_labels_prediction_id"), "labels", ["prediction_id"])


def _service_id() -> sa.Column[int]:
    return sa.Column("service_id", sa.Integer(), nullable=False, server_default="1")
