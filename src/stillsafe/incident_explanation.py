"""What happened to an incident, told to the observer once it is committed, and what it said, stored for people.

It reads what the run has written, so that the monitor and a later command tell the same. Each step of an incident is
explained offline at once, and where a language model is asked too, once by it. Nothing that decides reads any of it.
"""

import logging
import time
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.core.incident import IncidentEvent
from stillsafe.core.policy import Policy
from stillsafe.core.schema import Logged
from stillsafe.core.signals import Evidence, Reading
from stillsafe.core.state import Memory, Severity, State, severity_of
from stillsafe.core.window import Window
from stillsafe.errors import Failure, ObserverFailed
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
    plain,
    to_json,
)
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.codec import stored_value
from stillsafe.store.read.incidents import (
    NO_USE,
    IncidentRecord,
    IncidentStep,
    explained_steps,
    incident_by_id,
    unexplained_steps,
)
from stillsafe.store.read.runs import RunRecord, run_at
from stillsafe.store.write.explanations import LLM, OFFLINE, append_explanation, append_explanation_failure

logger = logging.getLogger(__name__)

INSTALL = llm.INSTALL


class Outcome(StrEnum):
    """What came of one step."""

    EXPLAINED = "explained"
    OFFLINE = "explained offline only"
    FAILED = "the language model failed"
    UNUSABLE = "the language model's answer was of no use"
    BUSY = "another process is asking"
    UNKNOWN = "its run is no longer stored"


def explain_newest(engine: Engine, settings: Settings, incident_id: str, *, now: datetime) -> Outcome:
    """Explain an incident offline as far as it has come, and have the model explain its newest step; each once.

    Raises:
        StoreError: the database cannot be read or written.
    """
    with database.reading(engine) as connection:
        found = incident_by_id(connection, incident_id)
    for step in found.steps[:-1] if found else ():
        _explain_offline(engine, settings, step, now)
    return Outcome.UNKNOWN if found is None else _explain(engine, settings, found.steps[-1], now)


def explain_pending(engine: Engine, settings: Settings, *, now: datetime) -> dict[IncidentStep, Outcome]:
    """Explain every step that no language model has explained, newest first, until the server fails.

    Raises:
        StoreError: the database cannot be read or written.
    """
    told: dict[IncidentStep, Outcome] = {}
    for step in pending(engine, settings):
        told[step] = _explain(engine, settings, step, now)
        if told[step] in (Outcome.FAILED, Outcome.BUSY):
            break
    return told


def pending(engine: Engine, settings: Settings) -> list[IncidentStep]:
    """The newest incidents' steps that wait for a language model, newest first; none where none is asked.

    Raises:
        StoreError: the database cannot be read.
    """
    if settings.observer.use != "llm":
        return []
    with database.reading(engine) as connection:
        return unexplained_steps(connection)


def request(engine: Engine, settings: Settings, incident_id: str) -> tuple[str, list[dict[str, str]]] | None:
    """An incident's newest step as a JSON payload, and what a model would be sent about it; nothing is sent.

    Raises:
        StoreError: the database cannot be read.
    """
    with database.reading(engine) as connection:
        found = incident_by_id(connection, incident_id)
        payload = None if found is None else _payload(connection, settings, found.steps[-1])
    return None if payload is None else (to_json(payload), prompt.messages(payload, as_json=True))


def _explain(engine: Engine, settings: Settings, step: IncidentStep, now: datetime) -> Outcome:
    """Offline at once; then by the model, by one process at a time, so that nothing is ever sent twice."""
    payload = _explain_offline(engine, settings, step, now)
    if payload is None:
        return Outcome.UNKNOWN
    if settings.observer.use != "llm":
        return Outcome.OFFLINE
    with database.alone(engine, "explain") as alone:
        if not alone:
            return Outcome.BUSY
        with database.reading(engine) as connection:
            if _is_explained(connection, step.incident_id, step.status, LLM):
                return Outcome.EXPLAINED
        return _ask(engine, settings, payload, now)


def _explain_offline(engine: Engine, settings: Settings, step: IncidentStep, now: datetime) -> IncidentPayload | None:
    """The step's payload, once its offline explanation stands; None where its run is no longer stored."""
    with database.reading(engine) as connection:
        payload = _payload(connection, settings, step)
        told = _is_explained(connection, step.incident_id, step.status, OFFLINE)
    if payload is not None and not told:
        _store(engine, payload, offline.explain(payload), OFFLINE, now)
    return payload


def _is_explained(connection: Connection, incident_id: str, status: str, source: str) -> bool:
    return (incident_id, status) in explained_steps(connection, source)


def _ask(engine: Engine, settings: Settings, payload: IncidentPayload, now: datetime) -> Outcome:
    """Ask the model and store what it said, or that it failed."""
    fields = {"incident": payload.incident_id, "status": payload.status, "model": settings.observer.model}
    began = time.monotonic()
    try:
        told = llm.explain(payload, _endpoint(settings))
    except ObserverFailed as error:
        seconds = round(time.monotonic() - began, 3)
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
        failed = {"failure": error.kind.value, "told": str(error), "seconds": seconds}
        logger.warning("no explanation", extra={"fields": fields | failed})
        return Outcome.UNUSABLE if error.kind in NO_USE else Outcome.FAILED
    seconds = round(time.monotonic() - began, 3)
    doubts = _store(engine, payload, told, LLM, now, seconds)
    logger.info("explained", extra={"fields": fields | {"seconds": seconds, "unverified": doubts}})
    return Outcome.EXPLAINED


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
    told: Explanation,
    source: str,
    now: datetime,
    seconds: float | None = None,
) -> int:
    """Write an explanation with its doubtful numbers marked, if there is none yet; returns how many there are."""
    marked, doubts = _checked(told, payload)
    with database.writing(engine) as connection:
        database.in_turn(connection, "explaining")
        if _is_explained(connection, payload.incident_id, payload.status, source):
            return len(doubts)
        append_explanation(
            connection,
            incident_id=payload.incident_id,
            incident_status=payload.status,
            source=source,
            generated_at=now,
            summary=marked.summary,
            likely_causes=marked.likely_causes,
            recommendations=marked.recommendations,
            llm_model=marked.llm_model,
            prompt_version=prompt.VERSION if source == LLM else None,
            seconds=seconds,
            unverified=doubts,
        )
    return len(doubts)


def _checked(told: Explanation, payload: IncidentPayload) -> tuple[Explanation, list[dict[str, Any]]]:
    """The explanation with a mark behind each number that the payload does not hold, and those numbers' places."""
    texts, doubts = {}, []
    for field in ("summary", "likely_causes", "recommendations"):
        found = grounding.unverified(getattr(told, field), payload)
        texts[field] = grounding.marked(getattr(told, field), found)
        shift = len(grounding.MARK)
        doubts += [{"field": field, "number": d.number, "at": d.start + shift * n} for n, d in enumerate(found)]
    return replace(told, **texts), doubts


def _payload(connection: Connection, settings: Settings, step: IncidentStep) -> IncidentPayload | None:
    """What the run stored that took the step, in the observer's words; None where it is no longer stored."""
    found, run = incident_by_id(connection, step.incident_id), run_at(connection, step.at)
    if found is None or run is None or None in (run.window, run.memory, run.policy):
        return None
    window, memory = stored_value(Window, run.window), stored_value(Memory, run.memory)
    resolved = step.status == IncidentEvent.RESOLVED
    severity = Severity.NORMAL if resolved else _SEVERITIES.get(memory.state, Severity.WARNING)
    made = () if resolved else _deviations(settings, run, window, memory)
    counts = window.total
    return IncidentPayload(
        version=VERSION,
        incident_id=found.incident_id,
        status=step.status,
        severity=severity.value,
        detected_at=found.detected_at,
        at=step.at,
        service=plain(settings.service.name, LONGEST_NAME),
        model_version=plain(window.model_version, LONGEST_NAME),
        state_before=run.state_before or "",
        state_after=run.state_after or "",
        reason=plain(run.reason or "", LONGEST_REASON),
        earlier_reason=plain(found.decision_reason, LONGEST_REASON) if resolved else "",
        deviations=made[:MOST_DEVIATIONS],
        further_deviations=max(0, len(made) - MOST_DEVIATIONS),
        fallback=_substitute(settings, found, severity, memory),
        traffic=Traffic(counts.prediction_count, counts.fallback_count, counts.refusal_count, counts.model_error_count),
        window_start=window.start,
        window_end=window.end,
    )


_SEVERITIES = {State.DEGRADED: Severity.CRITICAL, State.WARNING: Severity.WARNING}


def _deviations(settings: Settings, run: RunRecord, window: Window, memory: Memory) -> tuple[Deviation, ...]:
    """The readings that made the incident: deviating for long enough by the policy that judged them."""
    policy, readings = stored_value(Policy, run.policy), stored_value(tuple[Reading, ...], run.readings or [])
    streaks = {key: streak for key, streak in memory.streaks.items() if severity_of(policy, streak) != Severity.NORMAL}
    features = window.fresh.features
    return deviations(
        [reading for reading in readings if reading.key in streaks and reading.evidence is Evidence.BAD],
        {key: (streak.deviating, streak.severe) for key, streak in streaks.items()},
        kept_features={feature.name for feature in settings.features if feature.log is Logged.KEEP},
        new_values={name: tally.unseen_examples for name, tally in features.items()},
        repeated_values={name: tally.commonest[0] for name, tally in features.items() if tally.commonest is not None},
    )


def _substitute(settings: Settings, found: IncidentRecord, severity: Severity, memory: Memory) -> Substitute:
    return Substitute(
        active=severity is Severity.CRITICAL and found.fallback_activated,
        default=plain(str(settings.fallback.default), LONGEST_NAME),
        rule_count=len(settings.fallback.rules),
        avoided_features=tuple(plain(name, LONGEST_NAME) for name in memory.damaged_features),
    )
