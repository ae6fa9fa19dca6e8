"""Explains incidents to people: the only caller of the observer.

A step of an incident (`opened`, `escalated`, `resolved`) is explained after its run has committed. The payload comes
from what the run stored, so the monitor and a later command build the same one. Each step gets one offline
explanation, and one by the language model if `observer.use` is `llm`. No decision reads an explanation.
"""

import logging
import time
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.core.incident import IncidentEvent
from stillsafe.core.policy import Policy
from stillsafe.core.schema import LogMode
from stillsafe.core.signals import Evidence, Reading
from stillsafe.core.state import Memory, Severity, State, severity_of
from stillsafe.core.window import Window
from stillsafe.errors import Failure, ObserverFailed
from stillsafe.logs import LogEvent, log_event
from stillsafe.observer import grounding, llm, offline, prompt
from stillsafe.observer.payload import (
    LONGEST_NAME,
    LONGEST_REASON,
    MOST_DEVIATIONS,
    VERSION,
    Deviation,
    Explanation,
    IncidentPayload,
    Substitute,
    Traffic,
    deviations,
    escape_own_text,
    to_json,
)
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.codec import stored_value
from stillsafe.store.read.baselines import baseline_by_id
from stillsafe.store.read.incidents import (
    NO_USE,
    ExplanationRecord,
    IncidentRecord,
    IncidentStep,
    explained_steps,
    has_explanations,
    incident_by_id,
    unexplained_steps,
)
from stillsafe.store.read.runs import RunRecord, run_at
from stillsafe.store.write.explanations import LLM, OFFLINE, append_explanation, append_explanation_failure

logger = logging.getLogger(__name__)

INSTALL = llm.INSTALL


class Outcome(StrEnum):
    """The result of explaining one step."""

    EXPLANATION = "explained"
    """The language model's explanation is stored."""
    OFFLINE = "explained offline only"
    """The offline explanation is stored; no language model is configured."""
    FAILURE = "the language model failed"
    """The language model's server did not answer."""
    UNUSABLE = "the language model's answer was of no use"
    """The language model answered with no usable text."""
    BUSY = "another process is explaining"
    """Another process is calling the language model."""
    NO_TABLE = "the database has no table llm_explanations"
    """The table was dropped, so an explanation could not be stored, and none is requested."""
    UNKNOWN = "its run is no longer stored"
    """The incident or its run is missing."""


def explain_newest(engine: Engine, settings: Settings, incident_id: str, *, now: datetime) -> Outcome:
    """Explain every step of an incident offline, and its newest step by the language model, each once.

    Raises:
        StoreError: the database cannot be read or written.
    """
    with database.reading(engine) as connection:
        incident = incident_by_id(connection, incident_id)
    if incident is None:
        return Outcome.UNKNOWN
    for step in incident.steps[:-1]:
        _explain_offline(engine, settings, step, now)
    return _explain(engine, settings, incident.steps[-1], now)


def explain_pending(engine: Engine, settings: Settings, *, now: datetime) -> dict[IncidentStep, Outcome]:
    """Explain each pending step by the language model, newest first, until its server fails.

    Raises:
        StoreError: the database cannot be read or written.
    """
    outcomes: dict[IncidentStep, Outcome] = {}
    for step in pending_steps(engine, settings):
        outcomes[step] = _explain(engine, settings, step, now)
        if outcomes[step] in (Outcome.FAILURE, Outcome.BUSY):
            break
    return outcomes


def pending_steps(engine: Engine, settings: Settings) -> list[IncidentStep]:
    """Steps of the newest incidents that wait for the language model, newest first; empty if none is configured.

    Raises:
        StoreError: the database cannot be read.
    """
    if settings.observer.use != "llm":
        return []
    with database.reading(engine) as connection:
        return unexplained_steps(connection)


def request_preview(engine: Engine, settings: Settings, incident_id: str) -> tuple[str, list[dict[str, str]]] | None:
    """The JSON payload of an incident's newest step and the messages that a model would get. Sends nothing.

    Raises:
        StoreError: the database cannot be read.
    """
    with database.reading(engine) as connection:
        incident = incident_by_id(connection, incident_id)
        payload = None if incident is None else _payload(connection, settings, incident.steps[-1])
    return None if payload is None else (to_json(payload), prompt.messages(payload, as_json=True))


def _explain(engine: Engine, settings: Settings, step: IncidentStep, now: datetime) -> Outcome:
    """Explain a step offline, then by the language model. One process at a time calls it, so no request is repeated."""
    payload = _explain_offline(engine, settings, step, now)
    if payload is None:
        return Outcome.UNKNOWN
    with database.reading(engine) as connection:
        if not has_explanations(connection):
            return Outcome.NO_TABLE
    if settings.observer.use != "llm":
        return Outcome.OFFLINE
    with database.try_lock(engine, "explain") as owns_lock:
        if not owns_lock:
            return Outcome.BUSY
        with database.reading(engine) as connection:
            if _is_explained(connection, step.incident_id, step.status, LLM):
                return Outcome.EXPLANATION
        return _explain_by_model(engine, settings, payload, now)


def _explain_offline(engine: Engine, settings: Settings, step: IncidentStep, now: datetime) -> IncidentPayload | None:
    """Store the offline explanation if there is none, and return the payload; None if the run is missing."""
    with database.reading(engine) as connection:
        payload = _payload(connection, settings, step)
        is_explained = _is_explained(connection, step.incident_id, step.status, OFFLINE)
    if payload is not None and not is_explained:
        _store(engine, payload, offline.explain(payload), OFFLINE, now)
    return payload


def _is_explained(connection: Connection, incident_id: str, status: str, source: str) -> bool:
    return (incident_id, status) in explained_steps(connection, source)


def _explain_by_model(engine: Engine, settings: Settings, payload: IncidentPayload, now: datetime) -> Outcome:
    """Call the language model and store its explanation, or its failure."""
    fields: dict[str, object] = {
        "incident": payload.incident_id,
        "status": payload.status,
        "model": settings.observer.model,
    }
    start = time.monotonic()
    try:
        explanation = llm.explain(payload, _endpoint(settings))
    except ObserverFailed as error:
        seconds = round(time.monotonic() - start, 3)
        with database.writing(engine) as connection:
            append_explanation_failure(
                connection,
                incident_id=payload.incident_id,
                incident_status=payload.status,
                at=now,
                llm_model=settings.observer.model or "",
                failure=error.kind.value,
                seconds=seconds,
            )
        failure = {"failure": error.kind.value, "told": str(error), "seconds": seconds}
        log_event(logger, LogEvent.NO_EXPLANATION, fields | failure)
        return Outcome.UNUSABLE if error.kind in NO_USE else Outcome.FAILURE
    seconds = round(time.monotonic() - start, 3)
    unverified_count = _store(engine, payload, explanation, LLM, now, seconds)
    log_event(logger, LogEvent.EXPLANATION, fields | {"seconds": seconds, "unverified": unverified_count})
    return Outcome.EXPLANATION


def _endpoint(settings: Settings) -> llm.Endpoint:
    observer = settings.observer
    if observer.key_variable and observer.key is None:
        raise ObserverFailed(Failure.NO_KEY, f"the environment variable {observer.key_variable} holds no key")
    return llm.Endpoint(
        observer.base_url or "",
        observer.model or "",
        observer.key,
        timeout_seconds=observer.timeout,
        retries=observer.retries,
        budget_seconds=observer.budget,
        parameters=observer.parameters,
    )


def _store(
    engine: Engine,
    payload: IncidentPayload,
    explanation: Explanation,
    source: str,
    now: datetime,
    seconds: float | None = None,
) -> int:
    """Store an explanation with its unverified numbers marked, unless there is one; return how many were marked."""
    texts, numbers = _mark_unverified(explanation, payload)
    record = ExplanationRecord(
        incident_id=payload.incident_id,
        incident_status=payload.status,
        source=source,
        generated_at=now,
        **texts,
        llm_model=explanation.llm_model,
        prompt_version=prompt.VERSION if source == LLM else None,
        seconds=seconds,
        unverified=numbers,
    )
    with database.writing(engine) as connection:
        database.lock(connection, "explaining")
        if not _is_explained(connection, payload.incident_id, payload.status, source):
            append_explanation(connection, record)
    return len(numbers)


def _mark_unverified(explanation: Explanation, payload: IncidentPayload) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The texts with a mark after each number that the payload does not support, and those numbers."""
    texts, numbers = {}, []
    for field in ("summary", "likely_causes", "recommendations"):
        text = getattr(explanation, field)
        unverified = grounding.unverified_numbers(text, payload)
        texts[field] = grounding.mark_unverified(text, unverified)
        mark_length = len(grounding.MARK)
        numbers += [
            {"field": field, "number": number.number, "at": number.start + mark_length * marks_before}
            for marks_before, number in enumerate(unverified)
        ]
    return texts, numbers


def _payload(connection: Connection, settings: Settings, step: IncidentStep) -> IncidentPayload | None:
    """The observer's payload for a step, from what its run stored; None if the incident or the run is missing."""
    incident, run = incident_by_id(connection, step.incident_id), run_at(connection, step.at)
    if incident is None or run is None or None in (run.window, run.memory, run.policy):
        return None
    window, memory = stored_value(Window, run.window), stored_value(Memory, run.memory)
    resolved = step.status == IncidentEvent.RESOLVED
    severity = Severity.NORMAL if resolved else _severity(memory)
    baseline = None if run.baseline_id is None else baseline_by_id(connection, run.baseline_id)
    impact = None if baseline is None else baseline.harm
    healthy_error = None if impact is None else impact.healthy_error
    all_deviations = () if resolved else _deviations(settings, run, window, memory, healthy_error)
    counts = window.total
    return IncidentPayload(
        version=VERSION,
        incident_id=incident.incident_id,
        status=step.status,
        severity=severity.value,
        detected_at=incident.detected_at,
        at=step.at,
        service=escape_own_text(settings.service.name, LONGEST_NAME),
        model_version=escape_own_text(window.model_version, LONGEST_NAME),
        state_before=run.state_before or "",
        state_after=run.state_after or "",
        reason=escape_own_text(run.reason or "", LONGEST_REASON),
        earlier_reason=escape_own_text(incident.decision_reason, LONGEST_REASON) if resolved else "",
        deviations=all_deviations[:MOST_DEVIATIONS],
        further_deviations=max(0, len(all_deviations) - MOST_DEVIATIONS),
        fallback=_substitute(settings, incident, memory),
        traffic=Traffic(counts.prediction_count, counts.fallback_count, counts.refusal_count, counts.model_error_count),
        window_start=window.start,
        window_end=window.end,
    )


def _severity(memory: Memory) -> Severity:
    """The severity of the open incident; memories of rules 1 and 2 have only the state."""
    is_critical = memory.state is State.DEGRADED or memory.incident_severity is Severity.CRITICAL
    return Severity.CRITICAL if is_critical else Severity.WARNING


def _deviations(
    settings: Settings, run: RunRecord, window: Window, memory: Memory, healthy_error: float | None
) -> tuple[Deviation, ...]:
    """The deviations of the readings whose streaks are long enough for WARNING or CRITICAL under the run's policy."""
    policy, readings = stored_value(Policy, run.policy), stored_value(tuple[Reading, ...], run.readings or [])
    streaks = {key: streak for key, streak in memory.streaks.items() if severity_of(policy, streak) != Severity.NORMAL}
    features = window.fresh.features
    return deviations(
        [reading for reading in readings if reading.key in streaks and reading.evidence is Evidence.BAD],
        {key: (streak.deviating, streak.severe) for key, streak in streaks.items()},
        kept_features={feature.name for feature in settings.features if feature.log is LogMode.KEEP},
        new_values={name: tally.unseen_examples for name, tally in features.items()},
        repeated_values={
            name: number for name, tally in features.items() if (number := (tally.commonest or (None,))[0]) is not None
        },
        healthy_error=healthy_error,
    )


def _substitute(settings: Settings, incident: IncidentRecord, memory: Memory) -> Substitute:
    return Substitute(
        active=memory.state is State.DEGRADED and incident.fallback_activated,
        default=escape_own_text(str(settings.fallback.default), LONGEST_NAME),
        rule_count=len(settings.fallback.rules),
        avoided_features=tuple(escape_own_text(name, LONGEST_NAME) for name in memory.damaged_features),
    )
