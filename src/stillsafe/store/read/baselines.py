"""Queries for baselines."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, exists, literal, select

from stillsafe.core.baseline import Baseline
from stillsafe.store import database
from stillsafe.store.codec import record_from_row, stored_value
from stillsafe.store.tables import baseline_metrics


@dataclass(frozen=True, slots=True)
class BaselineRecord:
    """One stored baseline and whether it is the active one of its model version."""

    baseline: Baseline
    active: bool


@dataclass(frozen=True, slots=True)
class BaselineColumns:
    """The columns of a stored baseline as they are, and the document that they copy a part of."""

    baseline_id: str
    created_at: datetime
    sample_size: int
    avg_confidence: float | None
    low_confidence_rate: float | None
    feature_ranges: Any
    category_frequencies: Any
    missing_value_rates: Any
    model_version: str | None
    source: str | None
    document: Any


HAS_ACTIVE_BASELINE = exists(
    select(literal(1)).where(
        baseline_metrics.c.service_id == bindparam("service"),
        baseline_metrics.c.model_version == bindparam("version"),
        baseline_metrics.c.active,
    )
)
"""Whether the model version `version` of the service `service` has an active baseline."""
_IS_WATCHED = select(HAS_ACTIVE_BASELINE)


def baseline_by_id(connection: Connection, baseline_id: str) -> Baseline | None:
    """A baseline by its id."""
    query = select(baseline_metrics.c.document).where(
        _is_own(connection), baseline_metrics.c.baseline_id == baseline_id
    )
    document = connection.execute(query).scalar()
    return None if document is None else stored_value(Baseline, document)


def is_redacted(connection: Connection, baseline_id: str) -> bool:
    """Whether values were removed from a baseline after it was stored."""
    query = select(baseline_metrics.c.is_redacted).where(
        _is_own(connection), baseline_metrics.c.baseline_id == baseline_id
    )
    return bool(connection.execute(query).scalar())


def active_baseline(connection: Connection, model_version: str) -> Baseline | None:
    """The active baseline of a model version, or None where the version has none."""
    query = select(baseline_metrics.c.document).where(
        _is_own(connection), baseline_metrics.c.model_version == model_version, baseline_metrics.c.active
    )
    document = connection.execute(query).scalar()
    return None if document is None else stored_value(Baseline, document)


def is_watched(connection: Connection, model_version: str) -> bool:
    """Whether a model version has an active baseline."""
    parameters = {"service": database.service_id(connection), "version": model_version}
    return bool(connection.execute(_IS_WATCHED, parameters).scalar_one())


def all_baselines(connection: Connection) -> list[BaselineRecord]:
    """Every baseline, newest first."""
    query = select(baseline_metrics).where(_is_own(connection))
    query = query.order_by(baseline_metrics.c.created_at.desc(), baseline_metrics.c.baseline_id)
    return [
        BaselineRecord(stored_value(Baseline, row.document), bool(row.active))
        for row in connection.execute(query)
        if row.document is not None
    ]


def all_baseline_columns(connection: Connection) -> list[BaselineColumns]:
    """The columns of every baseline that has a document, oldest first."""
    query = select(baseline_metrics).where(_is_own(connection), baseline_metrics.c.document.is_not(None))
    query = query.order_by(baseline_metrics.c.created_at, baseline_metrics.c.baseline_id)
    return [record_from_row(BaselineColumns, row) for row in connection.execute(query)]


def _is_own(connection: Connection) -> ColumnElement[bool]:
    return baseline_metrics.c.service_id == database.service_id(connection)
