"""Reading monitoring runs and operator actions."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    func,
    select,
)

from stillsafe.core.signals import Evidence
from stillsafe.store.tables import (
    current_window_metrics,
    operator_actions,
)


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


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One operator's action."""

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
    """The run whose window ends exactly then."""
    query = select(current_window_metrics).where(current_window_metrics.c.window_end == window_end)
    row = connection.execute(query).first()
    return None if row is None else _run(row)


def last_run(connection: Connection) -> RunRecord | None:
    """The newest run."""
    row = connection.execute(
        select(current_window_metrics).order_by(current_window_metrics.c.id.desc()).limit(1)
    ).first()
    return None if row is None else _run(row)


def recent_runs(connection: Connection, limit: int) -> list[RunRecord]:
    """The newest runs, newest first."""
    query = select(current_window_metrics).order_by(current_window_metrics.c.id.desc()).limit(limit)
    return [_run(row) for row in connection.execute(query)]


def all_runs(connection: Connection) -> Iterator[RunRecord]:
    """Every run, oldest first, a few at a time."""
    query = select(current_window_metrics).order_by(current_window_metrics.c.id).execution_options(yield_per=200)
    with connection.execute(query) as found:  # who stops half-way leaves no cursor open
        for row in found:
            yield _run(row)


def all_actions(connection: Connection) -> list[ActionRecord]:
    """Every operator's action, oldest first."""
    query = select(operator_actions).order_by(operator_actions.c.id)
    fields = ActionRecord.__dataclass_fields__
    return [ActionRecord(**{name: getattr(row, name) for name in fields}) for row in connection.execute(query)]


def _run(row: Row[Any]) -> RunRecord:
    return RunRecord(**{name: getattr(row, name) for name in RunRecord.__dataclass_fields__})
