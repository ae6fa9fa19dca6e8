"""The only writer of `current_window_metrics`, `system_state`, `incidents` and `operator_actions`."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, update

from stillsafe.core.decide import Decision
from stillsafe.core.incident import IncidentEvent
from stillsafe.core.policy import RULES_VERSION, WORDING_VERSION, Policy
from stillsafe.core.signals import Evidence, Signal
from stillsafe.core.state import Hold, Memory, Severity
from stillsafe.core.window import Window
from stillsafe.store.codec import to_document
from stillsafe.store.tables import current_window_metrics, incidents, operator_actions, system_state

STATE_ID = 1
_ANOMALIES = (Signal.MISSING_RATE, Signal.UNSEEN_CATEGORY_RATE, Signal.OUT_OF_RANGE_RATE)


def record_run(
    connection: Connection,
    policy: Policy,
    window: Window,
    old_memory: Memory,
    decision: Decision,
    row_bounds: dict[str, Any],
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
        row_bounds: `last_prediction_row`, `last_refusal_row` and `fresh_since`: where the window's rows end in the log.
        enforce: whether DEGRADED bypasses the model (`mode = "enforce"`).

    Returns:
        The run's row id.
    """
    run = insert(current_window_metrics).values(
        **window_columns(window),
        **decision_columns(old_memory, decision),
        **row_bounds,
        policy=to_document(policy),
        rules_version=RULES_VERSION,
        wording_version=WORDING_VERSION,
    )
    key = connection.execute(run).inserted_primary_key
    _record_incident(connection, window, decision, enforce=enforce)
    hold = decision.memory.hold
    valid_seconds = policy.evidence.state_valid_intervals * policy.every_seconds
    _write_state(
        connection,
        old_memory,
        decision.memory,
        window.end,
        decision.reason if hold is None else _hold_sentence(hold),
        severity=decision.severity.value,
        checked_at=window.end,
        valid_until=window.end + timedelta(seconds=valid_seconds),
        damaged_features=list(decision.damaged_features),
    )
    return key[0] if key else 0


def record_hold(connection: Connection, memory: Memory, hold: Hold, after_run: int | None) -> Memory:
    """Force DEGRADED on behalf of an operator; the memory with the hold."""
    new_memory = replace(memory, hold=hold)
    _record_action(connection, "hold", hold, after_run)
    _write_state(connection, memory, new_memory, hold.at, _hold_sentence(hold))
    return new_memory


def record_release(
    connection: Connection, memory: Memory, by: str, reason: str, at: datetime, after_run: int | None
) -> Memory:
    """End the hold, so that the evidence decides again; the memory without the hold."""
    new_memory = replace(memory, hold=None)
    _record_action(connection, "release", Hold(by, reason, at), after_run)
    _write_state(connection, memory, new_memory, at, f"Released by {by}: {reason.rstrip('.')}.")
    return new_memory


def _hold_sentence(hold: Hold) -> str:
    return f"Held by {hold.by}: {hold.reason.rstrip('.')}."


def _record_action(connection: Connection, action: str, author: Hold, after_run: int | None) -> None:
    values = {"at": author.at, "action": action, "by": author.by, "reason": author.reason, "after_run": after_run}
    connection.execute(insert(operator_actions).values(values))


def _write_state(
    connection: Connection, old_memory: Memory, memory: Memory, at: datetime, reason: str, **columns: Any
) -> None:
    values = {
        "current_state": memory.effective_state.value,
        "reason": reason,
        "held": memory.hold is not None,
        "memory": to_document(memory),
        **columns,
    }
    if old_memory.effective_state is not memory.effective_state:
        values["last_updated"] = at
    result = connection.execute(update(system_state).where(system_state.c.id == STATE_ID).values(values))
    if not result.rowcount:
        connection.execute(insert(system_state).values({"id": STATE_ID, "last_updated": at, **values}))


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
    is_this = incidents.c.incident_id == incident.incident_id
    columns: dict[str, Any] = {
        "severity": incident.severity.value,
        "trigger_signals": list(incident.trigger_signals),
        "decision_reason": incident.reason,
        "fallback_activated": enforce and incident.severity is Severity.CRITICAL,
    }
    match incident.event:
        case IncidentEvent.RESOLVED:
            columns = {"resolved": True, "resolved_at": incident.at, "resolution": incident.reason}
            connection.execute(update(incidents).where(is_this).values(columns))
        case IncidentEvent.ESCALATED:
            connection.execute(update(incidents).where(is_this).values(escalated_at=incident.at, **columns))
        case IncidentEvent.OPENED:
            columns |= {"incident_id": incident.incident_id, "detected_at": incident.at, "resolved": False}
            columns |= {"model_version": window.model_version, "baseline_id": decision.memory.baseline_id}
            connection.execute(insert(incidents).values(columns))
