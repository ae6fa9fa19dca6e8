"""The tables: the six of the mission with the columns that it names, further columns, and further tables.

A column that the mission does not name is nullable or has a default, so that a row from an older version, or one
written by hand, stays valid.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
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
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from stillsafe.store.codec import storable


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime. SQLite has no time zones, so a naive UTC datetime is stored there."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Convert to the database's type.

        Raises:
            ValueError: for a naive datetime, whose time zone is unknown.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone cannot be stored")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Convert from the database's type to an aware UTC datetime."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _Storable(TypeDecorator[str]):
    """Text that both databases accept: PostgreSQL refuses some characters that clients can send."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """Replace what not every database accepts."""
        return None if value is None else storable(value)


class Name(_Storable):
    """A short text: a name, an id or a word. Sorted by code points, regardless of the server's language."""

    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> TypeEngine[str]:
        """The database's own type."""
        return String(collation="C") if dialect.name == "postgresql" else String()


class Prose(_Storable):
    """Sentences for people."""

    impl = Text
    cache_ok = True


# JSONB stores 1e22 as an integer and -0.0 as 0, so documents that are compared byte by byte are plain JSON.
Document = JSON(none_as_null=True)
# JSONB preserves names and rates, and can search and index them, so documents of these are JSONB.
Searchable = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# A busy service writes more rows in a year than 32 bits can count. In SQLite, Integer has 64 bits.
RowId = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

FIRST_SERVICE = 1
"""Id of the service that a database without names belongs to, and of rows that name no service."""

services = Table(
    "services",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Name, nullable=False),
    UniqueConstraint("name"),
)


def _service_id(*, primary_key: bool = False) -> Column[Any]:
    return Column("service_id", Integer, nullable=False, server_default=str(FIRST_SERVICE), primary_key=primary_key)


prediction_logs = Table(
    "prediction_logs",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("model_version", Name, nullable=False),
    Column("system_state", Name, nullable=False),
    Column("input_summary", Document, nullable=False),
    Column("prediction", Name),
    Column("confidence_score", Float),
    Column("fallback_used", Boolean, nullable=False, server_default=false()),
    Column("prediction_id", Name),
    Column("decided_by", Name),
    Column("reason", Prose),
    Column("model_error", Name),
    Column("synthetic", Boolean, nullable=False, server_default=false()),
    Column("source", Name),
    Column("trace_id", Name),
    _service_id(),
    UniqueConstraint("prediction_id"),
    Index(None, "service_id", "model_version", "timestamp"),
    sqlite_autoincrement=True,
)

refusals = Table(
    "refusals",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("model_version", Name, nullable=False),
    Column("violations", Searchable, nullable=False),
    Column("source", Name),
    _service_id(),
    Index(None, "service_id", "model_version", "timestamp"),
    sqlite_autoincrement=True,
)

baseline_metrics = Table(
    "baseline_metrics",
    metadata,
    _service_id(primary_key=True),
    Column("baseline_id", Name, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("sample_size", Integer, nullable=False),
    Column("avg_confidence", Float),
    Column("low_confidence_rate", Float),
    Column("feature_ranges", Document, nullable=False),
    Column("category_frequencies", Searchable, nullable=False),
    Column("missing_value_rates", Searchable, nullable=False),
    Column("model_version", Name),
    Column("source", Name),
    Column("active", Boolean, nullable=False, server_default=false()),
    Column("document", Document),
    Column("is_redacted", Boolean, nullable=False, server_default=false()),
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
    Column("feature_anomalies", Document, nullable=False),
    Column("unseen_categories", Boolean, nullable=False),
    Column("model_version", Name),
    Column("baseline_id", Name),
    Column("policy", Document),
    Column("window", Document),
    Column("readings", Document),
    Column("memory", Document),
    Column("evidence", Name),
    Column("severity", Name),
    Column("state_before", Name),
    Column("state_after", Name),
    Column("shadow", Boolean, nullable=False, server_default=false()),
    Column("reason", Prose),
    Column("incident_id", Name),
    Column("last_prediction_row", RowId),
    Column("last_refusal_row", RowId),
    Column("fresh_since", UtcDateTime),
    Column("rules_version", Integer),
    Column("wording_version", Integer),
    _service_id(),
    Column("rows", Document),
    Column("late_count", Integer),
    Column("expired_count", Integer),
    Column("inherited", Document),
    Column("schema_digest", Name),
    Column("superseded_at", UtcDateTime),
    Column("superseded_reason", Prose),
    Column("shadow_problem", Prose),
    Column("is_redacted", Boolean, nullable=False, server_default=false()),
    Index(
        "uq_current_window_metrics_version_window_end",
        "service_id",
        "model_version",
        "window_end",
        unique=True,
        sqlite_where=text("superseded_at IS NULL"),
        postgresql_where=text("superseded_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)

system_state = Table(
    "system_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("current_state", Name, nullable=False),
    Column("last_updated", UtcDateTime, nullable=False),
    Column("reason", Prose, nullable=False),
    Column("severity", Name),
    Column("checked_at", UtcDateTime),
    Column("valid_until", UtcDateTime),
    Column("held", Boolean, nullable=False, server_default=false()),
    Column("damaged_features", Searchable),
    Column("memory", Document),
    _service_id(),
    Column("model_version", Name),
    Column("progress", Prose),
    UniqueConstraint("service_id", "model_version"),
)

incidents = Table(
    "incidents",
    metadata,
    _service_id(primary_key=True),
    Column("incident_id", Name, primary_key=True),
    Column("detected_at", UtcDateTime, nullable=False),
    Column("severity", Name, nullable=False),
    Column("trigger_signals", Searchable, nullable=False),
    Column("decision_reason", Prose, nullable=False),
    Column("fallback_activated", Boolean, nullable=False),
    Column("resolved", Boolean, nullable=False),
    Column("escalated_at", UtcDateTime),
    Column("resolved_at", UtcDateTime),
    Column("resolution", Prose),
    Column("model_version", Name),
    Column("baseline_id", Name),
    Column("fallback_ended_at", UtcDateTime),
    Column("fallback_ended_reason", Prose),
    Index(None, "detected_at"),
)

llm_explanations = Table(
    "llm_explanations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident_id", Name, nullable=False),
    Column("generated_at", UtcDateTime, nullable=False),
    Column("summary", Prose, nullable=False),
    Column("recommendations", Prose, nullable=False),
    Column("llm_model", Name, nullable=False),
    Column("incident_status", Name),
    Column("source", Name),
    Column("likely_causes", Prose),
    Column("prompt_version", Name),
    Column("seconds", Float),
    Column("unverified", Document),
    _service_id(),
    UniqueConstraint("service_id", "incident_id", "incident_status", "source"),
)

explanation_failures = Table(
    "explanation_failures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("incident_id", Name, nullable=False),
    Column("incident_status", Name, nullable=False),
    Column("llm_model", Name, nullable=False),
    Column("failure", Name, nullable=False),
    Column("seconds", Float, nullable=False),
    _service_id(),
)

operator_actions = Table(
    "operator_actions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("action", Name, nullable=False),
    Column("by", Name, nullable=False),
    Column("reason", Prose, nullable=False),
    Column("after_run", Integer),
    _service_id(),
)

prunes = Table(
    "prunes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("before", UtcDateTime, nullable=False),
    Column("prediction_count", Integer, nullable=False),
    Column("refusal_count", Integer, nullable=False),
    Column("archive", Prose),
    _service_id(),
)

request_ids = Table(
    "request_ids",
    metadata,
    _service_id(primary_key=True),
    Column("id", Name, primary_key=True),
    Column("body_hash", Name, nullable=False),
    Column("prediction_id", Name, nullable=False),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("answer", Document, nullable=False),
    # New entries are at the end of this index. One of random identifiers alone would make each a page of its own.
    Index(None, "timestamp", "prediction_id"),
    sqlite_with_rowid=False,
)

request_duplicates = Table(
    "request_duplicates",
    metadata,
    Column("prediction_id", Name, primary_key=True),
    Column("id", Name, nullable=False),
    Column("timestamp", UtcDateTime, nullable=False),
    _service_id(),
    Index(None, "service_id", "id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    _service_id(),
    Column("name", Name, nullable=False),
    Column("digest", Name, nullable=False),
    Column("scopes", Document, nullable=False),
    Column("rate_per_minute", Integer),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    UniqueConstraint("digest"),
    Index(
        "uq_api_keys_service_name",
        "service_id",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
)

labels = Table(
    "labels",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("prediction_id", Name, nullable=False),
    Column("label", Name, nullable=False),
    Column("arrived_at", UtcDateTime, nullable=False),
    _service_id(),
    Index(None, "prediction_id"),
    sqlite_autoincrement=True,
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("alert_id", Name, nullable=False),
    Column("event", Name, nullable=False),
    Column("model_version", Name, nullable=False),
    Column("incident_id", Name),
    Column("at", UtcDateTime, nullable=False),
    Column("document", Document, nullable=False),
    Column("deliveries", Document, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failure", Prose),
    Column("is_done", Boolean, nullable=False),
    _service_id(),
    UniqueConstraint("alert_id"),
)

feature_schemas = Table(
    "feature_schemas",
    metadata,
    Column("digest", Name, primary_key=True),
    Column("document", Document, nullable=False),
)

erasures = Table(
    "erasures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("by", Name, nullable=False),
    Column("reason", Prose, nullable=False),
    Column("salt", Name, nullable=False),
    Column("prediction_count", Integer, nullable=False, server_default="0"),
    Column("label_count", Integer, nullable=False, server_default="0"),
    Column("archived_count", Integer, nullable=False, server_default="0"),
    Column("spooled_count", Integer, nullable=False, server_default="0"),
    Column("text_count", Integer, nullable=False, server_default="0"),
    Column("marked_at", UtcDateTime),
    Column("completed_at", UtcDateTime),
    _service_id(),
    Index(None, "service_id", "at"),
)

erasure_marks = Table(
    "erasure_marks",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("erasure_id", Integer, nullable=False),
    Column("kind", Name, nullable=False),
    Column("feature", Name),
    Column("hash", Name, nullable=False),
    Column("row_id", RowId),
    Column("hour", UtcDateTime),
    Column("model_version", Name),
    _service_id(),
    Index(None, "erasure_id", "hash"),
    sqlite_autoincrement=True,
)
