"""INSERT and UPDATE of `current_window_metrics`, `system_state`, `incidents`, `operator_actions`, `feature_schemas`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, insert, literal, or_, select, update

from stillsafe.core.decide import Decision
from stillsafe.core.incident import Incident, IncidentEvent
from stillsafe.core.policy import RULES_VERSION, WORDING_VERSION, Policy
from stillsafe.core.signals import Evidence, Signal
from stillsafe.core.state import Hold, Memory, memory_after_release
from stillsafe.core.window import Window
from stillsafe.store import database
from stillsafe.store.codec import stored_value, to_document
from stillsafe.store.read.row_selection import RowMarks
from stillsafe.store.read.runs import RunRecord
from stillsafe.store.tables import (
    current_window_metrics,
    feature_schemas,
    incidents,
    operator_actions,
    system_state,
)

_ANOMALIES = (Signal.MISSING_RATE, Signal.UNSEEN_CATEGORY_RATE, Signal.OUT_OF_RANGE_RATE)


@dataclass(frozen=True, slots=True)
class RunRows:
    """Which rows a run read, and what it started from.

    Attributes:
        predictions, refusals: the marks of each table after the run.
        late_count: rows that came after a run had covered their time.
        expired_count: rows that no run has judged, and none will.
        inherited: where a version's first run got its memory from, as plain JSON, or None.
        schema: the features that the window was counted by, as plain JSON.
        schema_digest: identifies them.
        shadow_problem: why bypassed rows could not be scored, or None where they could or where nothing asks for it.
        labels: the marks of the labels.
    """

    predictions: RowMarks
    refusals: RowMarks
    late_count: int = 0
    expired_count: int = 0
    inherited: dict[str, Any] | None = None
    schema: Any = None
    schema_digest: str | None = None
    shadow_problem: str | None = None
    labels: RowMarks = field(default_factory=RowMarks)

    def columns(self) -> dict[str, Any]:
        """The columns of the run's row that hold them."""
        rows = {"predictions": to_document(self.predictions), "refusals": to_document(self.refusals)}
        if self.labels.settled_to:
            rows["labels"] = to_document(self.labels)
        return {
            "rows": rows,
            "last_prediction_row": self.predictions.settled_to,
            "last_refusal_row": self.refusals.settled_to,
            "late_count": self.late_count,
            "expired_count": self.expired_count,
            "inherited": self.inherited,
            "schema_digest": self.schema_digest,
            "shadow_problem": self.shadow_problem,
        }


def mark_runs_redacted(connection: Connection, baseline_id: str) -> None:
    """Mark the runs that a baseline judged: it was redacted, so they are neither recomputed nor recounted."""
    columns = current_window_metrics.c
    is_own = columns.service_id == database.service_id(connection), columns.baseline_id == baseline_id
    connection.execute(update(current_window_metrics).where(*is_own).values(is_redacted=True))


def record_run(
    connection: Connection,
    policy: Policy,
    window: Window,
    old_memory: Memory,
    decision: Decision,
    rows: RunRows,
    *,
    enforce: bool,
) -> int:
    """Write one run: its window, its decision, and the state that follows.

    Args:
        connection: inside one transaction.
        policy: the policy of the decision.
        window: the window of the run.
        old_memory: the memory that the run started from.
        decision: the decision on the window.
        rows: the rows that it read.
        enforce: whether DEGRADED bypasses the model (`mode = "enforce"`).

    Returns:
        The run's row id.
    """
    _record_schema(connection, rows)
    run = insert(current_window_metrics).values(
        service_id=database.service_id(connection),
        **window_columns(window),
        **decision_columns(old_memory, decision),
        **rows.columns(),
        fresh_since=old_memory.last_conclusive_at,
        policy=to_document(policy),
        rules_version=RULES_VERSION,
        wording_version=WORDING_VERSION,
    )
    key = connection.execute(run).inserted_primary_key
    _record_incident(connection, window, decision, enforce=enforce)
    _write_state(
        connection,
        window.model_version,
        old_memory,
        decision.memory,
        window.end,
        reason=_state_reason(connection, decision.memory, decision.reason),
        progress=decision.progress,
        severity=decision.severity.value,
        checked_at=window.end,
        valid_until=_valid_until(policy, window.end),
        damaged_features=list(decision.damaged_features),
    )
    return key[0] if key else 0


def record_hold(
    connection: Connection, memories: Mapping[str | None, Memory], hold: Hold, after_run: int | None
) -> None:
    """Force DEGRADED on behalf of an operator, for every model version.

    Args:
        connection: inside one transaction.
        memories: the memory of each version.
        hold: who, why and when.
        after_run: the newest run, or None.
    """
    _record_action(connection, "hold", hold, after_run)
    for version, memory in memories.items():
        held = replace(memory, hold=hold)
        _write_state(connection, version, memory, held, hold.at, reason=hold_sentence(hold))


def record_release(
    connection: Connection, memories: Mapping[str | None, Memory], action: Hold, after_run: int | None
) -> None:
    """End the hold of every model version, or what labels made DEGRADED; arguments as for `record_hold`."""
    _record_action(connection, "release", action, after_run)
    sentence = f"Released by {action.by}: {action.reason.rstrip('.')}."
    for version, memory in memories.items():
        new_memory = memory_after_release(memory)
        reason = _state_reason(connection, new_memory, sentence)
        _write_state(connection, version, memory, new_memory, action.at, reason=reason)


def record_discard(
    connection: Connection,
    runs: Sequence[RunRecord],
    earlier: RunRecord | None,
    memory: tuple[Memory, Memory],
    action: Hold,
    after_run: int | None,
) -> None:
    """Supersede runs on record, and restore the state that they started from. Nothing is deleted.

    Args:
        connection: inside one transaction.
        runs: the runs of one version to supersede.
        earlier: the run before them, or None.
        memory: the memory now, and the one to restore.
        action: who, why and when.
        after_run: the newest run.
    """
    _record_action(connection, "discard", action, after_run)
    ids = [run.id for run in runs]
    superseding_columns = {"superseded_at": action.at, "superseded_reason": action.reason}
    is_superseded = current_window_metrics.c.id.in_(ids)
    connection.execute(update(current_window_metrics).where(is_superseded).values(superseding_columns))
    sentence = f"Runs discarded by {action.by}: {action.reason.rstrip('.')}."
    old_memory, restored_memory = memory
    opened = {run.incident_id for run in runs if run.incident_id} - {restored_memory.incident_id}
    is_opened = and_(incidents.c.service_id == database.service_id(connection), incidents.c.incident_id.in_(opened))
    resolved = {"resolved": True, "resolved_at": action.at, "resolution": sentence}
    connection.execute(update(incidents).where(is_opened, incidents.c.resolved.is_(False)).values(resolved))
    _write_state(
        connection,
        runs[0].model_version,
        old_memory,
        restored_memory,
        action.at,
        reason=_state_reason(connection, restored_memory, sentence),
        progress="",
        severity=None if earlier is None else earlier.severity,
        checked_at=None if earlier is None else earlier.window_end,
        valid_until=None if earlier is None else _valid_until(stored_value(Policy, earlier.policy), earlier.window_end),
        damaged_features=list(restored_memory.damaged_features),
    )


def restore_incident(connection: Connection, steps: Sequence[Incident]) -> None:
    """Reopen an incident as the steps of its runs, oldest first, had left it."""
    columns: dict[str, Any] = {}
    for step in steps:
        columns |= incident_columns(step)
    if not any(step.is_bypassed for step in steps):
        columns["fallback_activated"] = False
    is_this = _is_incident(connection, steps[0].incident_id)
    connection.execute(update(incidents).where(is_this).values(columns))


def replace_window(connection: Connection, run_id: int, document: Any) -> None:
    """Replace the document of a run's window by one without values of rows that are erased."""
    run = current_window_metrics
    connection.execute(update(current_window_metrics).where(run.c.id == run_id).values(window=document))


def _valid_until(policy: Policy, end: datetime) -> datetime:
    """When the monitor counts as stale after a run."""
    return end + timedelta(seconds=policy.evidence.state_valid_intervals * policy.every_seconds)


def hold_sentence(hold: Hold) -> str:
    """Who holds the state, and why."""
    return f"Held by {hold.by}: {hold.reason.rstrip('.')}."


def _state_reason(connection: Connection, memory: Memory, reason: str) -> Any:
    """Why the state is what it is: the hold, the last step of the open incident, or else the last reason."""
    if memory.hold is not None:
        return hold_sentence(memory.hold)
    if memory.incident_id is None:
        return reason
    is_open = _is_incident(connection, memory.incident_id)
    newest = func.coalesce(incidents.c.fallback_ended_reason, incidents.c.decision_reason)
    return func.coalesce(select(newest).where(is_open).scalar_subquery(), reason)


def _record_action(connection: Connection, action: str, author: Hold, after_run: int | None) -> None:
    values = {"at": author.at, "action": action, "by": author.by, "reason": author.reason, "after_run": after_run}
    connection.execute(insert(operator_actions).values(service_id=database.service_id(connection), **values))


def _record_schema(connection: Connection, rows: RunRows) -> None:
    if rows.schema_digest is None:
        return
    is_stored = select(literal(1)).where(feature_schemas.c.digest == rows.schema_digest).exists()
    document = bindparam("document", rows.schema, type_=feature_schemas.c.document.type)
    digest = literal(rows.schema_digest, feature_schemas.c.digest.type)
    connection.execute(
        insert(feature_schemas).from_select(["digest", "document"], select(digest, document).where(~is_stored))
    )


def _write_state(
    connection: Connection, model_version: str | None, old_memory: Memory, memory: Memory, at: datetime, **columns: Any
) -> None:
    values = {
        "current_state": memory.effective_state.value,
        "held": memory.hold is not None,
        "memory": to_document(memory),
        **columns,
    }
    if old_memory.effective_state is not memory.effective_state:
        values["last_updated"] = at
    service = database.service_id(connection)
    version = system_state.c.model_version
    is_own = and_(system_state.c.service_id == service, or_(version == model_version, version.is_(None)))
    values["model_version"] = model_version
    result = connection.execute(update(system_state).where(is_own).values(values))
    if not result.rowcount:
        connection.execute(insert(system_state).values({"service_id": service, "last_updated": at, **values}))


def window_columns(window: Window) -> dict[str, Any]:
    """The columns of a run that show its window."""
    return {
        "window_start": window.start,
        "window_end": window.end,
        "prediction_count": window.total.prediction_count,
        "avg_confidence": window.total.avg_confidence,
        "low_confidence_rate": window.total.low_confidence_rate,
        "unseen_categories": window.total.unseen_categories,
        "model_version": window.model_version,
        "shadow": window.shadow,
        "window": to_document(window),
    }


def decision_columns(old_memory: Memory, decision: Decision) -> dict[str, Any]:
    """The columns of a run that show its decision."""
    return {
        "feature_anomalies": {
            reading.key: {"value": reading.value, "reference": reading.reference, "level": reading.level.value}
            for reading in decision.readings
            if reading.signal in _ANOMALIES and reading.evidence is Evidence.BAD
        },
        "baseline_id": decision.memory.baseline_id,
        "readings": to_document(decision.readings),
        "memory": to_document(decision.memory),
        "evidence": decision.evidence.value,
        "severity": decision.severity.value,
        "state_before": old_memory.effective_state.value,
        "state_after": decision.memory.effective_state.value,
        "reason": decision.reason,
        "incident_id": decision.incident.incident_id if decision.incident else decision.memory.incident_id,
    }


def _record_incident(connection: Connection, window: Window, decision: Decision, *, enforce: bool) -> None:
    incident = decision.incident
    if incident is None:
        return
    is_this = _is_incident(connection, incident.incident_id)
    columns = incident_columns(incident)
    if incident.event is IncidentEvent.OPENED or (enforce and incident.is_bypassed):
        columns["fallback_activated"] = enforce and incident.is_bypassed
    if incident.event is IncidentEvent.OPENED:
        columns |= {"model_version": window.model_version, "baseline_id": decision.memory.baseline_id}
    result = connection.execute(update(incidents).where(is_this).values(columns))
    # Where runs were discarded, another run of the same time opens the same incident again.
    if incident.event is IncidentEvent.OPENED and not result.rowcount:
        key = {"service_id": database.service_id(connection), "incident_id": incident.incident_id}
        connection.execute(insert(incidents).values({**key, **columns}))


def incident_columns(incident: Incident) -> dict[str, Any]:
    """The columns of an incident that one step of it changes, whatever the mode of the service is."""
    match incident.event:
        case IncidentEvent.RESOLVED:
            return {"resolved": True, "resolved_at": incident.at, "resolution": incident.reason}
        case IncidentEvent.FALLBACK_ENDED:
            return {"fallback_ended_at": incident.at, "fallback_ended_reason": incident.reason}
    columns = {
        "severity": incident.severity.value,
        "trigger_signals": list(incident.trigger_signals),
        "decision_reason": incident.reason,
        "fallback_ended_at": None,
        "fallback_ended_reason": None,
    }
    if incident.event is IncidentEvent.ESCALATED:
        return {**columns, "escalated_at": incident.at}
    open_columns = {"resolved": False, "resolved_at": None, "resolution": None}
    return {**columns, "detected_at": incident.at, "escalated_at": None, **open_columns}


def _is_incident(connection: Connection, incident_id: str) -> ColumnElement[bool]:
    return and_(incidents.c.service_id == database.service_id(connection), incidents.c.incident_id == incident_id)
