"""Queries for incidents and their explanations.

No decision reads the tables of explanations, and an owner may drop them: a missing table counts as empty.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, inspect, select

from stillsafe.errors import Failure
from stillsafe.store import database
from stillsafe.store.codec import record_from_row
from stillsafe.store.tables import current_window_metrics, explanation_failures, incidents, llm_explanations

NO_USE = (Failure.UNUSABLE, Failure.TOO_LONG)
"""Failures in which the language model answered, but with no usable text."""
MOST_USELESS_ANSWERS = 10
"""After this many useless answers the language model is no longer requested for a step: each answer costs money."""
INCIDENT_STEPS = ("opened", "escalated", "resolved")


@dataclass(frozen=True, slots=True)
class IncidentStep:
    """One step of an incident, and the time of the run that recorded it."""

    incident_id: str
    status: str
    at: datetime


@dataclass(frozen=True, slots=True)
class IncidentRecord:
    """One stored incident."""

    incident_id: str
    detected_at: datetime
    severity: str
    trigger_signals: list[str]
    decision_reason: str
    fallback_activated: bool
    resolved: bool
    escalated_at: datetime | None
    resolved_at: datetime | None
    resolution: str | None
    model_version: str | None
    baseline_id: str | None
    fallback_ended_at: datetime | None = None
    fallback_ended_reason: str | None = None

    @property
    def steps(self) -> tuple[IncidentStep, ...]:
        """The steps so far, oldest first."""
        times = zip(INCIDENT_STEPS, (self.detected_at, self.escalated_at, self.resolved_at), strict=True)
        return tuple(IncidentStep(self.incident_id, status, at) for status, at in times if at is not None)


@dataclass(frozen=True, slots=True)
class ExplanationRecord:
    """One explanation of one step of an incident.

    Attributes:
        incident_id: the incident.
        generated_at: when it was generated, aware UTC.
        summary: text for people, with its unverified numbers marked. Untrusted: escape it before display.
        recommendations: text like `summary`, one per line.
        llm_model: the language model that wrote it, or `offline`.
        incident_status: the step: `opened`, `escalated` or `resolved`.
        source: `offline` or `llm`; each step has at most one explanation of each.
        likely_causes: text like `summary`, one per line.
        prompt_version: the version of the prompt, or None for `offline`.
        seconds: how long the language model took, or None for `offline`.
        unverified: the marked numbers: `field`, `number`, and `at`, the index in that text.
    """

    incident_id: str
    generated_at: datetime
    summary: str
    recommendations: str
    llm_model: str
    incident_status: str | None
    source: str | None
    likely_causes: str | None
    prompt_version: str | None = None
    seconds: float | None = None
    unverified: list[dict[str, Any]] | None = field(default_factory=list)

    @property
    def sort_key(self) -> tuple[int, bool]:
        """The order within an incident: by step, the offline explanation first."""
        step = INCIDENT_STEPS.index(self.incident_status) if self.incident_status in INCIDENT_STEPS else -1
        return step, self.source == "llm"


def recent_incidents(
    connection: Connection, limit: int | None, *, unresolved_only: bool = False
) -> list[IncidentRecord]:
    """The newest incidents, newest first; all of them without a limit."""
    query = (
        select(incidents)
        .where(_is_own(connection, incidents))
        .order_by(incidents.c.detected_at.desc(), incidents.c.incident_id.desc())
        .limit(limit)
    )
    if unresolved_only:
        query = query.where(incidents.c.resolved.is_(False))
    return [record_from_row(IncidentRecord, row) for row in connection.execute(query)]


def incident_by_id(connection: Connection, incident_id: str) -> IncidentRecord | None:
    """An incident by its id."""
    row = connection.execute(
        select(incidents).where(_is_own(connection, incidents), incidents.c.incident_id == incident_id)
    ).first()
    return None if row is None else record_from_row(IncidentRecord, row)


def incident_explanations(connection: Connection, incident_id: str) -> list[ExplanationRecord]:
    """The explanations of an incident, by step; of each step the offline one first."""
    table = llm_explanations
    if not has_table(connection, table):
        return []
    query = select(table).where(_is_own(connection, table), table.c.incident_id == incident_id).order_by(table.c.id)
    records = [record_from_row(ExplanationRecord, row) for row in connection.execute(query)]
    return sorted(records, key=lambda record: record.sort_key)


def explained_steps(connection: Connection, source: str) -> set[tuple[str, str | None]]:
    """The steps that a source has explained, each as incident id and status."""
    table = llm_explanations
    if not has_table(connection, table):
        return set()
    query = select(table.c.incident_id, table.c.incident_status).where(
        _is_own(connection, table), table.c.source == source
    )
    return {(row.incident_id, row.incident_status) for row in connection.execute(query)}


def explanation_failure_count(connection: Connection) -> int:
    """How often a language model failed to explain an incident."""
    if not has_table(connection, explanation_failures):
        return 0
    query = select(func.count()).select_from(explanation_failures).where(_is_own(connection, explanation_failures))
    return int(connection.execute(query).scalar_one())


def _abandoned_steps(connection: Connection) -> set[tuple[str, str | None]]:
    table = explanation_failures
    if not has_table(connection, table):
        return set()
    query = (
        select(table.c.incident_id, table.c.incident_status)
        .where(_is_own(connection, table), table.c.failure.in_([failure.value for failure in NO_USE]))
        .group_by(table.c.incident_id, table.c.incident_status)
        .having(func.count() >= MOST_USELESS_ANSWERS)
    )
    return {(row.incident_id, row.incident_status) for row in connection.execute(query)}


def unexplained_steps(connection: Connection, incident_count: int = 20) -> list[IncidentStep]:
    """Steps of the newest incidents that a language model can still explain and has not, newest first.

    Empty where the table of explanations is missing, because an explanation could not be stored.
    """
    if not has_table(connection, llm_explanations):
        return []
    settled_steps = explained_steps(connection, "llm") | _abandoned_steps(connection)
    steps = [step for record in recent_incidents(connection, incident_count) for step in reversed(record.steps)]
    open_steps = [step for step in steps if (step.incident_id, step.status) not in settled_steps]
    table = current_window_metrics
    query = select(table.c.window_end).where(
        _is_own(connection, table), table.c.window_end.in_([step.at for step in open_steps])
    )
    stored_runs = set(connection.execute(query).scalars()) if open_steps else set()
    return [step for step in open_steps if step.at in stored_runs]


def has_explanations(connection: Connection) -> bool:
    """Whether explanations can be stored."""
    return has_table(connection, llm_explanations)


def has_table(connection: Connection, table: Table) -> bool:
    """Whether the database has a table."""
    return inspect(connection).has_table(table.name)


def _is_own(connection: Connection, table: Table) -> ColumnElement[bool]:
    return table.c.service_id == database.service_id(connection)
