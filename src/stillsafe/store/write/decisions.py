"""The only writer of `current_window_metrics`, `system_state`, `incidents` and `operator_actions`."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, update

from stillsafe.core.decide import Decision
from stillsafe.core.incident import IncidentEvent
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Signal
from stillsafe.core.state import Hold, Memory, Severity
from stillsafe.core.window import Window
from stillsafe.store.codec import to_document
from stillsafe.store.tables import current_window_metrics, incidents, operator_actions, system_state

THE_STATE = 1
_ANOMALIES = (Signal.MISSING_RATE, Signal.UNSEEN_CATEGORY_RATE, Signal.OUT_OF_RANGE_RATE)


def record_run(
    connection: Connection,
    policy: Policy,
    window: Window,
    before: Memory,
    decision: Decision,
    seen: dict[str, Any],
    *,
    enforced: bool,
) -> int:
    """Write one run: its window, what it concluded, and the state that follows. Returns the run's row id.

    Args:
        connection: inside one transaction.
        policy: the policy that decided.
        window: what was judged.
        before: the memory that it started from.
        decision: what was concluded.
        seen: `last_prediction_row`, `last_refusal_row` and `fresh_since`: where the window's rows end in the log.
        enforced: whether DEGRADED bypasses the model (`mode = "enforce"`).
    """
    run = insert(current_window_metrics).values(**window_columns(window), **decision_columns(before, decision), **seen)
    written = connection.execute(run.values(policy=to_document(policy)))
    _record_incident(connection, window, decision, enforced=enforced)
    _write_state(
        connection,
        decision.memory,
        decision.reason if decision.memory.hold is None else _held(decision.memory.hold),
        window.end,
        changed=before.effective_state is not decision.memory.effective_state,
        severity=decision.severity.value,
        checked_at=window.end,
        valid_until=window.end + timedelta(seconds=2 * policy.every_seconds),
        damaged_features=list(decision.damaged_features),
    )
    return written.inserted_primary_key[0] if written.inserted_primary_key else 0


def record_hold(connection: Connection, memory: Memory, hold: Hold, after_run: int | None) -> Memory:
    """Force DEGRADED in the name of an operator."""
    held = replace(memory, hold=hold)
    _record_action(connection, "hold", hold.by, hold.reason, hold.at, after_run)
    _write_state(connection, held, _held(hold), hold.at, changed=memory.effective_state is not held.effective_state)
    return held


def record_release(
    connection: Connection, memory: Memory, by: str, reason: str, at: datetime, after_run: int | None
) -> Memory:
    """End the hold: from here on the evidence decides again."""
    released = replace(memory, hold=None)
    _record_action(connection, "release", by, reason, at, after_run)
    told = f"Released by {by}: {reason.rstrip('.')}."
    _write_state(connection, released, told, at, changed=memory.effective_state is not released.effective_state)
    return released


def _held(hold: Hold) -> str:
    return f"Held by {hold.by}: {hold.reason.rstrip('.')}."


def _record_action(
    connection: Connection, action: str, by: str, reason: str, at: datetime, after_run: int | None
) -> None:
    values = {"at": at, "action": action, "by": by, "reason": reason, "after_run": after_run}
    connection.execute(insert(operator_actions).values(values))


def _write_state(
    connection: Connection, memory: Memory, reason: str, at: datetime, *, changed: bool, **columns: Any
) -> None:
    values = {
        "current_state": memory.effective_state.value,
        "reason": reason,
        "held": memory.hold is not None,
        "memory": to_document(memory),
        **columns,
    }
    if changed:
        values["last_updated"] = at
    written = connection.execute(update(system_state).where(system_state.c.id == THE_STATE).values(values))
    if not written.rowcount:
        connection.execute(insert(system_state).values({"id": THE_STATE, "last_updated": at, **values}))


def window_columns(window: Window) -> dict[str, Any]:
    """What of a window stands in columns of its own."""
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


def decision_columns(before: Memory, decision: Decision) -> dict[str, Any]:
    """What of a decision stands in columns of its own."""
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
        "state_before": before.effective_state.value,
        "state_after": decision.memory.effective_state.value,
        "reason": decision.reason,
        "incident_id": decision.incident.incident_id if decision.incident else decision.memory.incident_id,
    }


def _record_incident(connection: Connection, window: Window, decision: Decision, *, enforced: bool) -> None:
    incident = decision.incident
    if incident is None:
        return
    ours = incidents.c.incident_id == incident.incident_id
    if incident.event is IncidentEvent.RESOLVED:
        resolved = {"resolved": True, "resolved_at": incident.at, "resolution": incident.reason}
        connection.execute(update(incidents).where(ours).values(resolved))
        return
    told = {
        "severity": incident.severity.value,
        "trigger_signals": list(incident.trigger_signals),
        "decision_reason": incident.reason,
        "fallback_activated": enforced and incident.severity is Severity.CRITICAL,
    }
    if incident.event is IncidentEvent.ESCALATED:
        connection.execute(update(incidents).where(ours).values(escalated_at=incident.at, **told))
        return
    connection.execute(
        insert(incidents).values(
            incident_id=incident.incident_id,
            detected_at=incident.at,
            resolved=False,
            model_version=window.model_version,
            baseline_id=decision.memory.baseline_id,
            **told,
        )
    )
