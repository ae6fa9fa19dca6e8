"""Queries for monitoring runs and operator actions."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from stillsafe.core.signals import Evidence
from stillsafe.store.codec import record_from_row
from stillsafe.store.tables import current_window_metrics, operator_actions


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One stored monitoring run; documents are plain JSON."""

    id: int
    window_start: datetime
    window_end: datetime
    prediction_count: int
    avg_confidence: float | None
    low_confidence_rate: float | None
    feature_anomalies: dict[str, Any]
    unseen_categories: bool
    model_version: str | None
    baseline_id: str | None
    policy: Any
    window: Any
    readings: Any
    memory: Any
    evidence: str | None
    severity: str | None
    state_before: str | None
    state_after: str | None
    shadow: bool
    reason: str | None
    incident_id: str | None
    last_prediction_row: int | None
    last_refusal_row: int | None
    fresh_since: datetime | None
    rules_version: int | None = None
    wording_version: int | None = None


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One action of an operator."""

    id: int
    at: datetime
    action: str
    by: str
    reason: str
    after_run: int | None


def deviating_run_count(connection: Connection, model_version: str, start: datetime, end: datetime) -> int:
    """Runs that deviated and whose windows end in `(start, end]`."""
    table = current_window_metrics
    query = select(func.count()).where(
        table.c.evidence == Evidence.BAD.value,
        table.c.model_version == model_version,
        table.c.window_end > start,
        table.c.window_end <= end,
    )
    return int(connection.execute(query).scalar_one())


def run_at(connection: Connection, window_end: datetime) -> RunRecord | None:
    """The run whose window ends exactly at a time, or None."""
    query = select(current_window_metrics).where(current_window_metrics.c.window_end == window_end)
    row = connection.execute(query).first()
    return None if row is None else record_from_row(RunRecord, row)


def last_run(connection: Connection) -> RunRecord | None:
    """The newest run, or None."""
    return next(iter(recent_runs(connection, 1)), None)


def recent_runs(connection: Connection, limit: int) -> list[RunRecord]:
    """The newest runs, newest first."""
    query = select(current_window_metrics).order_by(current_window_metrics.c.id.desc()).limit(limit)
    return [record_from_row(RunRecord, row) for row in connection.execute(query)]


def all_runs(connection: Connection) -> Iterator[RunRecord]:
    """Every run, oldest first, fetched 200 at a time."""
    query = select(current_window_metrics).order_by(current_window_metrics.c.id).execution_options(yield_per=200)
    with connection.execute(query) as rows:  # closes the cursor where the caller stops half-way
        for row in rows:
            yield record_from_row(RunRecord, row)


def all_actions(connection: Connection) -> list[ActionRecord]:
    """Every action of an operator, oldest first."""
    query = select(operator_actions).order_by(operator_actions.c.id)
    return [record_from_row(ActionRecord, row) for row in connection.execute(query)]
