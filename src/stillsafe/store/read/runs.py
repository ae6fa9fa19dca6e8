"""Queries for monitoring runs and operator actions."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from stillsafe.core.signals import Evidence
from stillsafe.store import database
from stillsafe.store.codec import record_from_row
from stillsafe.store.tables import current_window_metrics, feature_schemas, operator_actions

MOST_MARKS = 50_000
"""Runs of a time whose states are read: five weeks of them, at one a minute."""
MOST_DEVIATING_RUNS = 5_000
"""Runs of a span whose deviations are named: a month of them, at one in ten minutes."""
MOST_LABEL_RUNS = 5_000
"""Runs after an incident whose labels are searched: a month of them, at one in ten minutes."""


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
    rows: Any = None
    late_count: int | None = None
    expired_count: int | None = None
    inherited: Any = None
    schema_digest: str | None = None
    superseded_at: datetime | None = None
    superseded_reason: str | None = None
    shadow_problem: str | None = None
    is_redacted: bool = False


@dataclass(frozen=True, slots=True)
class RunFigures:
    """The figures and the decision of one run, without its documents on window, policy and memory."""

    id: int
    window_start: datetime
    window_end: datetime
    prediction_count: int
    avg_confidence: float | None
    low_confidence_rate: float | None
    feature_anomalies: dict[str, Any]
    unseen_categories: bool
    evidence: str | None
    severity: str | None
    state_before: str | None
    state_after: str | None
    reason: str | None
    readings: Any
    baseline_id: str | None
    model_version: str | None
    incident_id: str | None
    shadow: bool


@dataclass(frozen=True, slots=True)
class RunMark:
    """When a run was and what it decided, without any document."""

    id: int
    window_end: datetime
    evidence: str | None
    severity: str | None
    state_after: str | None


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
        *_in_force(connection, model_version),
        table.c.evidence == Evidence.BAD.value,
        table.c.window_end > start,
        table.c.window_end <= end,
    )
    return int(connection.execute(query).scalar_one())


def deviating_figures(connection: Connection, model_version: str, start: datetime, end: datetime) -> list[RunFigures]:
    """The runs that deviated and whose windows end in `(start, end]`, oldest first."""
    table = current_window_metrics
    conditions = (
        table.c.evidence == Evidence.BAD.value,
        table.c.window_end > start,
        table.c.window_end <= end,
    )
    columns = [table.c[each.name] for each in fields(RunFigures)]
    query = select(*columns).where(*_in_force(connection, model_version), *conditions).order_by(table.c.id)
    return [record_from_row(RunFigures, row) for row in connection.execute(query.limit(MOST_DEVIATING_RUNS))]


def run_at(connection: Connection, window_end: datetime, model_version: str | None = None) -> RunRecord | None:
    """The newest run whose window ends exactly at a time, of one version or of any, or None."""
    conditions = [*_in_force(connection, model_version), current_window_metrics.c.window_end == window_end]
    return _newest(connection, conditions)


def last_run(connection: Connection, model_version: str | None = None) -> RunRecord | None:
    """The newest run of one version or of any, or None."""
    return _newest(connection, _in_force(connection, model_version))


def run_before(connection: Connection, model_version: str, run_id: int) -> RunRecord | None:
    """The newest run of a version before another run, or None."""
    is_earlier = current_window_metrics.c.id < run_id
    return _newest(connection, [*_in_force(connection, model_version), is_earlier])


def run_by_id(connection: Connection, run_id: int) -> RunRecord | None:
    """A run by its id, superseded or not."""
    is_own = current_window_metrics.c.service_id == database.service_id(connection)
    return _newest(connection, [is_own, current_window_metrics.c.id == run_id])


def recent_runs(connection: Connection, limit: int, model_version: str | None = None) -> list[RunRecord]:
    """The newest runs of one version or of all, newest first."""
    query = select(current_window_metrics).where(*_in_force(connection, model_version))
    return [
        record_from_row(RunRecord, row)
        for row in connection.execute(query.order_by(current_window_metrics.c.id.desc()).limit(limit))
    ]


def recent_figures(connection: Connection, limit: int, before_run: int | None = None) -> list[RunFigures]:
    """The figures of the newest runs, or of the newest ones before a run, newest first."""
    table = current_window_metrics
    conditions = _in_force(connection) + ([] if before_run is None else [table.c.id < before_run])
    query = select(*(table.c[field.name] for field in fields(RunFigures))).where(*conditions)
    rows = connection.execute(query.order_by(table.c.id.desc()).limit(limit))
    return [record_from_row(RunFigures, row) for row in rows]


def figures_before(connection: Connection, model_version: str, end: datetime | None, limit: int) -> list[RunFigures]:
    """The figures of the newest runs of a version whose windows end before a time, or at all, newest first."""
    table = current_window_metrics
    query = select(*(table.c[field.name] for field in fields(RunFigures))).where(*_in_force(connection, model_version))
    query = query if end is None else query.where(table.c.window_end < end)
    rows = connection.execute(query.order_by(table.c.id.desc()).limit(limit))
    return [record_from_row(RunFigures, row) for row in rows]


def run_marks(connection: Connection, model_version: str, start: datetime, end: datetime) -> list[RunMark]:
    """The runs of a version whose windows end in `(start, end]`, and the one before them, oldest first."""
    table = current_window_metrics
    query = select(*(table.c[field.name] for field in fields(RunMark))).where(*_in_force(connection, model_version))
    query = query.order_by(table.c.window_end.desc(), table.c.id.desc())
    inside = query.where(table.c.window_end > start, table.c.window_end <= end).limit(MOST_MARKS)
    rows = [*connection.execute(inside), *connection.execute(query.where(table.c.window_end <= start).limit(1))]
    return [record_from_row(RunMark, row) for row in reversed(rows)]


def runs_by_ids(connection: Connection, ids: Collection[int]) -> list[RunRecord]:
    """Runs by their ids, oldest first."""
    table = current_window_metrics
    is_own = table.c.service_id == database.service_id(connection)
    query = select(table).where(is_own, table.c.id.in_(ids)).order_by(table.c.window_end, table.c.id)
    return [record_from_row(RunRecord, row) for row in connection.execute(query)]


def label_documents(connection: Connection, model_version: str, start: datetime) -> list[Any]:
    """The labels of each run that read any, as plain JSON, of the runs of a version that end after a time."""
    labels = current_window_metrics.c.window["labels"]
    query = select(labels).where(*_in_force(connection, model_version), current_window_metrics.c.window_end > start)
    query = query.order_by(current_window_metrics.c.id).limit(MOST_LABEL_RUNS)
    return [document for document in connection.execute(query).scalars() if document is not None]


def all_runs(connection: Connection) -> Iterator[RunRecord]:
    """Every run that is not superseded, oldest first, fetched 200 at a time."""
    query = select(current_window_metrics).where(*_in_force(connection)).order_by(current_window_metrics.c.id)
    with connection.execute(query.execution_options(yield_per=200)) as rows:  # closes the cursor of a caller that stops
        for row in rows:
            yield record_from_row(RunRecord, row)


def runs_after(connection: Connection, model_version: str, time: datetime) -> list[RunRecord]:
    """Runs of one version whose windows end after a time, oldest first."""
    table = current_window_metrics
    query = select(table).where(*_in_force(connection, model_version), table.c.window_end > time).order_by(table.c.id)
    return [record_from_row(RunRecord, row) for row in connection.execute(query)]


def runs_of_incident(connection: Connection, model_version: str, incident_id: str, before_run: int) -> list[RunRecord]:
    """Runs of one version with an open incident, before another run, oldest first."""
    table = current_window_metrics
    conditions = [*_in_force(connection, model_version), table.c.incident_id == incident_id, table.c.id < before_run]
    query = select(table).where(*conditions).order_by(table.c.id)
    return [record_from_row(RunRecord, row) for row in connection.execute(query)]


def superseded_incidents(connection: Connection) -> set[str]:
    """Ids of the incidents of superseded runs."""
    table = current_window_metrics
    query = select(table.c.incident_id).where(
        table.c.service_id == database.service_id(connection),
        table.c.superseded_at.is_not(None),
        table.c.incident_id.is_not(None),
    )
    return set(connection.execute(query).scalars())


def all_actions(connection: Connection) -> list[ActionRecord]:
    """Every action of an operator, oldest first."""
    is_own = operator_actions.c.service_id == database.service_id(connection)
    query = select(operator_actions).where(is_own).order_by(operator_actions.c.id)
    return [record_from_row(ActionRecord, row) for row in connection.execute(query)]


def feature_schema(connection: Connection, digest: str) -> Any:
    """The stored schema of a digest as plain JSON, or None."""
    query = select(feature_schemas.c.document).where(feature_schemas.c.digest == digest)
    return connection.execute(query).scalar()


def _in_force(connection: Connection, model_version: str | None = None) -> list[ColumnElement[bool]]:
    """Conditions for the service's runs that no operator has superseded, of one version or of all."""
    table = current_window_metrics
    conditions = [table.c.service_id == database.service_id(connection), table.c.superseded_at.is_(None)]
    return conditions if model_version is None else [*conditions, table.c.model_version == model_version]


def _newest(connection: Connection, conditions: list[ColumnElement[bool]]) -> RunRecord | None:
    query = select(current_window_metrics).where(*conditions).order_by(current_window_metrics.c.id.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else record_from_row(RunRecord, row)
