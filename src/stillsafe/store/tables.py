"""The tables: the mission's six with its columns as written, what the promises need beside them, and two more.

Columns that the mission does not name are nullable or have a default, so that a row written by an older
version, or by hand, is still a row.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.dialects.postgresql import JSONB


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime. SQLite keeps none, so it is written as naive UTC there and read back as aware."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """To the database. A naive datetime is a mistake of the caller's, never a guess of ours."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone cannot be stored")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

prediction_logs = Table(
    "prediction_logs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("model_version", String, nullable=False),
    Column("system_state", String, nullable=False),
    Column("input_summary", Json, nullable=False),
    Column("prediction", String),
    Column("confidence_score", Float),
    Column("fallback_used", Boolean, nullable=False, server_default=false()),
    Column("prediction_id", String),
    Column("decided_by", String),
    Column("reason", Text),
    Column("model_error", String),
    UniqueConstraint("prediction_id"),
    Index(None, "timestamp"),
    sqlite_autoincrement=True,
)

refusals = Table(
    "refusals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("model_version", String, nullable=False),
    Column("violations", Json, nullable=False),
    Index(None, "timestamp"),
    sqlite_autoincrement=True,
)

baseline_metrics = Table(
    "baseline_metrics",
    metadata,
    Column("baseline_id", String, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("sample_size", Integer, nullable=False),
    Column("avg_confidence", Float),
    Column("low_confidence_rate", Float),
    Column("feature_ranges", Json, nullable=False),
    Column("category_frequencies", Json, nullable=False),
    Column("missing_value_rates", Json, nullable=False),
    Column("model_version", String),
    Column("source", String),
    Column("active", Boolean, nullable=False, server_default=false()),
    Column("document", Json),
)

current_window_metrics = Table(
    "current_window_metrics",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("window_start", UtcDateTime, nullable=False),
    Column("window_end", UtcDateTime, nullable=False),
    Column("prediction_count", Integer, nullable=False),
    Column("avg_confidence", Float),
    Column("low_confidence_rate", Float),
    Column("feature_anomalies", Json, nullable=False),
    Column("unseen_categories", Boolean, nullable=False),
    Column("model_version", String),
    Column("baseline_id", String),
    Column("policy", Json),
    Column("window", Json),
    Column("readings", Json),
    Column("memory", Json),
    Column("evidence", String),
    Column("severity", String),
    Column("state_before", String),
    Column("state_after", String),
    Column("shadow", Boolean, nullable=False, server_default=false()),
    Column("reason", Text),
    Column("incident_id", String),
    Column("last_prediction_row", Integer),
    Column("last_refusal_row", Integer),
    Column("fresh_since", UtcDateTime),
    UniqueConstraint("window_end"),
    sqlite_autoincrement=True,
)

system_state = Table(
    "system_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("current_state", String, nullable=False),
    Column("last_updated", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("severity", String),
    Column("checked_at", UtcDateTime),
    Column("valid_until", UtcDateTime),
    Column("held", Boolean, nullable=False, server_default=false()),
    Column("damaged_features", Json),
    Column("memory", Json),
)

incidents = Table(
    "incidents",
    metadata,
    Column("incident_id", String, primary_key=True),
    Column("detected_at", UtcDateTime, nullable=False),
    Column("severity", String, nullable=False),
    Column("trigger_signals", Json, nullable=False),
    Column("decision_reason", Text, nullable=False),
    Column("fallback_activated", Boolean, nullable=False),
    Column("resolved", Boolean, nullable=False),
    Column("escalated_at", UtcDateTime),
    Column("resolved_at", UtcDateTime),
    Column("resolution", Text),
    Column("model_version", String),
    Column("baseline_id", String),
    Index(None, "detected_at"),
)

llm_explanations = Table(
    "llm_explanations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident_id", String, nullable=False),
    Column("generated_at", UtcDateTime, nullable=False),
    Column("summary", Text, nullable=False),
    Column("recommendations", Text, nullable=False),
    Column("llm_model", String, nullable=False),
    Column("incident_status", String),
    UniqueConstraint("incident_id", "incident_status"),
)

operator_actions = Table(
    "operator_actions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("action", String, nullable=False),
    Column("by", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("after_run", Integer),
)
