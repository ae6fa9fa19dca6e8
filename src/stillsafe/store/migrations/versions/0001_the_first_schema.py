"""The first schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

NAME = sa.String().with_variant(sa.String(collation="C"), "postgresql")
DOCUMENT = sa.JSON()
SEARCHABLE = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "baseline_metrics",
        sa.Column("baseline_id", NAME, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sample_size", sa.Integer(), nullable=False),
        sa.Column("avg_confidence", sa.Float(), nullable=True),
        sa.Column("low_confidence_rate", sa.Float(), nullable=True),
        sa.Column("feature_ranges", DOCUMENT, nullable=False),
        sa.Column("category_frequencies", SEARCHABLE, nullable=False),
        sa.Column("missing_value_rates", SEARCHABLE, nullable=False),
        sa.Column("model_version", NAME, nullable=True),
        sa.Column("source", NAME, nullable=True),
        sa.Column("active", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("document", DOCUMENT, nullable=True),
        sa.PrimaryKeyConstraint("baseline_id", name=op.f("pk_baseline_metrics")),
    )
    op.create_table(
        "current_window_metrics",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("prediction_count", sa.Integer(), nullable=False),
        sa.Column("avg_confidence", sa.Float(), nullable=True),
        sa.Column("low_confidence_rate", sa.Float(), nullable=True),
        sa.Column("feature_anomalies", DOCUMENT, nullable=False),
        sa.Column("unseen_categories", sa.Boolean(), nullable=False),
        sa.Column("model_version", NAME, nullable=True),
        sa.Column("baseline_id", NAME, nullable=True),
        sa.Column("policy", DOCUMENT, nullable=True),
        sa.Column("window", DOCUMENT, nullable=True),
        sa.Column("readings", DOCUMENT, nullable=True),
        sa.Column("memory", DOCUMENT, nullable=True),
        sa.Column("evidence", NAME, nullable=True),
        sa.Column("severity", NAME, nullable=True),
        sa.Column("state_before", NAME, nullable=True),
        sa.Column("state_after", NAME, nullable=True),
        sa.Column("shadow", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("incident_id", NAME, nullable=True),
        sa.Column("last_prediction_row", ROW_ID, nullable=True),
        sa.Column("last_refusal_row", ROW_ID, nullable=True),
        sa.Column("fresh_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_current_window_metrics")),
        sa.UniqueConstraint("window_end", name=op.f("uq_current_window_metrics_window_end")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "incidents",
        sa.Column("incident_id", NAME, nullable=False),
        sa.Column("detected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("severity", NAME, nullable=False),
        sa.Column("trigger_signals", SEARCHABLE, nullable=False),
        sa.Column("decision_reason", sa.Text(), nullable=False),
        sa.Column("fallback_activated", sa.Boolean(), nullable=False),
        sa.Column("resolved", sa.Boolean(), nullable=False),
        sa.Column("escalated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("model_version", NAME, nullable=True),
        sa.Column("baseline_id", NAME, nullable=True),
        sa.PrimaryKeyConstraint("incident_id", name=op.f("pk_incidents")),
    )
    with op.batch_alter_table("incidents", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_incidents_detected_at"), ["detected_at"], unique=False)

    op.create_table(
        "llm_explanations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("incident_id", NAME, nullable=False),
        sa.Column("generated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("recommendations", sa.Text(), nullable=False),
        sa.Column("llm_model", NAME, nullable=False),
        sa.Column("incident_status", NAME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_llm_explanations")),
        sa.UniqueConstraint(
            "incident_id", "incident_status", name=op.f("uq_llm_explanations_incident_id_incident_status")
        ),
    )
    op.create_table(
        "operator_actions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", NAME, nullable=False),
        sa.Column("by", NAME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("after_run", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_actions")),
    )
    op.create_table(
        "prediction_logs",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_version", NAME, nullable=False),
        sa.Column("system_state", NAME, nullable=False),
        sa.Column("input_summary", DOCUMENT, nullable=False),
        sa.Column("prediction", NAME, nullable=True),
        sa.Column("confidence_score", sa.Float(), nullable=True),
        sa.Column("fallback_used", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("prediction_id", NAME, nullable=True),
        sa.Column("decided_by", NAME, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("model_error", NAME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction_logs")),
        sa.UniqueConstraint("prediction_id", name=op.f("uq_prediction_logs_prediction_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("prediction_logs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_prediction_logs_timestamp"), ["timestamp"], unique=False)

    op.create_table(
        "refusals",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_version", NAME, nullable=False),
        sa.Column("violations", SEARCHABLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusals")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("refusals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_refusals_timestamp"), ["timestamp"], unique=False)

    op.create_table(
        "system_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("current_state", NAME, nullable=False),
        sa.Column("last_updated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("severity", NAME, nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("damaged_features", SEARCHABLE, nullable=True),
        sa.Column("memory", DOCUMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_system_state")),
    )
