"""What a monitoring run logs: one event for each thing that it has found or changed."""

import logging
from datetime import timedelta
from typing import Any

from stillsafe.core.decide import Decision
from stillsafe.core.evidence.time_text import exact_time_text
from stillsafe.core.incident import IncidentEvent
from stillsafe.core.state import Memory, State
from stillsafe.core.window import Window
from stillsafe.logs import LogEvent, log_event
from stillsafe.settings import Settings

logger = logging.getLogger("stillsafe.monitoring.run")


def log_run(settings: Settings, run_id: int, window: Window, old_memory: Memory, decision: Decision) -> None:
    """Log a run that has been stored.

    Args:
        settings: of the service.
        run_id: the run's row.
        window: what it has evaluated.
        old_memory: the memory that it started from.
        decision: what it has concluded.
    """
    memory = decision.memory
    version = version_fields(settings.service.name, window.model_version)
    incident_id = decision.incident.incident_id if decision.incident else memory.incident_id
    fields = version | {
        "run": run_id,
        "state_before": old_memory.effective_state.value,
        "state_after": memory.effective_state.value,
        "incident": incident_id,
        "reason": decision.reason,
    }
    counts = {
        "window_end": exact_time_text(window.end),
        "predictions": window.total.prediction_count,
        "fresh": window.fresh.prediction_count,
        "evidence": decision.evidence.value,
        "severity": decision.severity.value,
    }
    log_event(logger, LogEvent.RUN, fields | counts)
    log_state_change(logger, fields, old_memory, memory)
    if settings.service.mode == "enforce":
        _log_fallback(fields, old_memory, memory)
    if decision.incident is not None:
        is_recovery = decision.incident.event in (IncidentEvent.RESOLVED, IncidentEvent.FALLBACK_ENDED)
        event = LogEvent.RECOVERY if is_recovery else LogEvent.INCIDENT
        log_event(logger, event, fields | {"event_kind": decision.incident.event.value})
    _log_window(settings, version | {"run": run_id}, window, memory)


def log_skipped(settings: Settings, outcome: str) -> None:
    """Log that a start of the monitor had nothing to do."""
    version = version_fields(settings.service.name, settings.model.version)
    log_event(logger, LogEvent.RUN_SKIPPED, version | {"outcome": outcome})


def version_fields(service: str | None, model_version: str) -> dict[str, Any]:
    """The fields of every event that concerns one model version of a service."""
    return {"service": service, "model_version": model_version}


def log_state_change(logger: logging.Logger, fields: dict[str, Any], old_memory: Memory, memory: Memory) -> None:
    """Log that the state in force has changed, if it has."""
    if old_memory.effective_state is not memory.effective_state:
        log_event(logger, LogEvent.STATE_CHANGE, fields)


def _log_fallback(fields: dict[str, Any], old_memory: Memory, memory: Memory) -> None:
    was_active, is_active = (each.effective_state is State.DEGRADED for each in (old_memory, memory))
    if was_active == is_active:
        return
    names = ("service", "model_version", "incident", "reason", "run")
    fallback_fields = {name: fields[name] for name in names} | {"state": memory.effective_state.value}
    log_event(logger, LogEvent.FALLBACK_STARTED if is_active else LogEvent.FALLBACK_ENDED, fallback_fields)


def _log_window(settings: Settings, fields: dict[str, Any], window: Window, memory: Memory) -> None:
    """Log refused requests, late rows, and requests that wait for a conclusive run."""
    if window.fresh.refusal_count:
        counts = {"refusals": window.fresh.refusal_count, "predictions": window.fresh.prediction_count}
        log_event(logger, LogEvent.REFUSALS, fields | counts)
    if window.late_count or window.expired_count:
        log_event(logger, LogEvent.LATE_ROWS, fields | {"late": window.late_count, "expired": window.expired_count})
    longest = timedelta(seconds=settings.policy.not_judged_seconds)
    if memory.unjudged_since is not None and window.end - memory.unjudged_since > longest:
        judged_at = memory.last_conclusive_at
        waiting = {
            "state": memory.effective_state.value,
            "unjudged_since": exact_time_text(memory.unjudged_since),
            "judged_at": None if judged_at is None else exact_time_text(judged_at),
        }
        log_event(logger, LogEvent.NOT_JUDGED, fields | waiting)
