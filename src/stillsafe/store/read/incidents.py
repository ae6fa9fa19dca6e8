"""Reading incidents and their explanations."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    func,
    select,
)

from stillsafe.errors import Failure
from stillsafe.store.tables import (
    current_window_metrics,
    explanation_failures,
    incidents,
    llm_explanations,
)

NO_USE = (Failure.UNUSABLE, Failure.TOO_LONG)
MOST_USELESS_ANSWERS = 10
"""A step that a language model has answered to so often without use is given up: each answer costs something."""
INCIDENT_STEPS = ("opened", "escalated", "resolved")


@dataclass(frozen=True, slots=True)
class IncidentStep:
    """One step of an incident, and the time of the run that took it."""

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

    @property
    def steps(self) -> tuple[IncidentStep, ...]:
        """What happened to it so far, oldest first."""
        times = zip(INCIDENT_STEPS, (self.detected_at, self.escalated_at, self.resolved_at), strict=True)
        return tuple(IncidentStep(self.incident_id, status, at) for status, at in times if at is not None)


@dataclass(frozen=True, slots=True)
class ExplanationRecord:
    """One stored explanation: text for people, hostile until escaped. Numbers in doubt are marked in it already."""

    incident_id: str
    generated_at: datetime
    summary: str
    recommendations: str
    llm_model: str
    incident_status: str | None
    source: str | None
    likely_causes: str | None
    prompt_version: str | None
    seconds: float | None
    unverified: list[dict[str, Any]] | None

    @property
    def place(self) -> tuple[int, bool]:
        """Where it belongs in its incident's story: step by step, and what needs no model first."""
        step = INCIDENT_STEPS.index(self.incident_status) if self.incident_status in INCIDENT_STEPS else -1
        return step, self.source == "llm"


def recent_incidents(
    connection: Connection, limit: int | None, *, unresolved_only: bool = False
) -> list[IncidentRecord]:
    """The newest incidents, newest first; all of them without a limit."""
    query = select(incidents).order_by(incidents.c.detected_at.desc(), incidents.c.incident_id.desc()).limit(limit)
    if unresolved_only:
        query = query.where(incidents.c.resolved.is_(False))
    return [_incident(row) for row in connection.execute(query)]


def incident_by_id(connection: Connection, incident_id: str) -> IncidentRecord | None:
    """An incident by its id."""
    row = connection.execute(select(incidents).where(incidents.c.incident_id == incident_id)).first()
    return None if row is None else _incident(row)


def incident_explanations(connection: Connection, incident_id: str) -> list[ExplanationRecord]:
    """An incident's explanations, step by step; of each step the offline one first."""
    table = llm_explanations
    query = select(table).where(table.c.incident_id == incident_id).order_by(table.c.id)
    fields = ExplanationRecord.__dataclass_fields__
    found = [ExplanationRecord(**{name: getattr(row, name) for name in fields}) for row in connection.execute(query)]
    return sorted(found, key=lambda record: record.place)


def explained_steps(connection: Connection, source: str) -> set[tuple[str, str | None]]:
    """The incidents' steps, each as identifier and status, that a source has explained."""
    table = llm_explanations
    query = select(table.c.incident_id, table.c.incident_status).where(table.c.source == source)
    return {(row.incident_id, row.incident_status) for row in connection.execute(query)}


def explanation_failure_count(connection: Connection) -> int:
    """How often nobody explained an incident."""
    return int(connection.execute(select(func.count()).select_from(explanation_failures)).scalar_one())


def _given_up(connection: Connection) -> set[tuple[str, str | None]]:
    table = explanation_failures
    query = (
        select(table.c.incident_id, table.c.incident_status)
        .where(table.c.failure.in_([failure.value for failure in NO_USE]))
        .group_by(table.c.incident_id, table.c.incident_status)
        .having(func.count() >= MOST_USELESS_ANSWERS)
    )
    return {(row.incident_id, row.incident_status) for row in connection.execute(query)}


def unexplained_steps(connection: Connection, incident_count: int = 20) -> list[IncidentStep]:
    """The steps of the newest incidents that no language model has explained and that still can be, newest first."""
    done = explained_steps(connection, "llm") | _given_up(connection)
    steps = [step for found in recent_incidents(connection, incident_count) for step in reversed(found.steps)]
    waiting = [step for step in steps if (step.incident_id, step.status) not in done]
    table = current_window_metrics
    query = select(table.c.window_end).where(table.c.window_end.in_([step.at for step in waiting]))
    stored_runs = set(connection.execute(query).scalars()) if waiting else set()
    return [step for step in waiting if step.at in stored_runs]


def _incident(row: Row[Any]) -> IncidentRecord:
    return IncidentRecord(**{name: getattr(row, name) for name in IncidentRecord.__dataclass_fields__})
