"""An incident with everything that is stored of it, read in one transaction, and what its page shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.bypass_price import BypassPrice
from stillsafe.core.evidence.sentences import part_texts, short_sentence
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.signals import FAILURE, OUTPUT_SIGNALS, Level, Reading, Signal
from stillsafe.core.state import State
from stillsafe.dashboard import charts
from stillsafe.dashboard.cause import cause_line, damaged_features, stored_cause
from stillsafe.dashboard.deviations import charted_keys, worst_first
from stillsafe.dashboard.distributions import Distribution, distributions
from stillsafe.dashboard.explanations import explanation_steps, first_advice, newest_first
from stillsafe.dashboard.fallback_view import answer_sentence, fallback_parts
from stillsafe.dashboard.formatting import moment, span
from stillsafe.dashboard.incident_events import Event, incident_events
from stillsafe.dashboard.next_steps import incident_steps
from stillsafe.dashboard.relations import BrokenPair, broken_pairs
from stillsafe.dashboard.shapes import Chart
from stillsafe.dashboard.snapshot import Run, Snapshot, key_run, runs_of_time
from stillsafe.dashboard.status_banner import HEADLINES, Tone, alarms
from stillsafe.errors import StoreError
from stillsafe.judging import version_conditions
from stillsafe.model.incident_price import incident_price
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.alerts import incident_alerts
from stillsafe.store.read.baselines import active_baseline, baseline_by_id
from stillsafe.store.read.incidents import ExplanationRecord, IncidentRecord, incident_by_id, incident_explanations
from stillsafe.store.read.requests import last_request_at
from stillsafe.store.read.runs import all_actions

LEAD_RUNS = 10
"""So many runs before an incident are drawn, and after it; of a long one a quarter of its time."""
MOST_CHARTS = 12


@dataclass(frozen=True, slots=True)
class IncidentDetail:
    """Everything that is stored of an incident.

    Attributes:
        incident: its record.
        snapshot: the service now; its runs are those of the incident.
        price: what the bypass won or lost, as soon as labels have come for it.
        explanations: the newest step first.
        events: oldest first.
        run: the run that made it worse, or that opened it; None where it is no longer stored.
        baseline: what that run's window was compared with, or None.
    """

    incident: IncidentRecord
    snapshot: Snapshot
    price: BypassPrice | None
    explanations: tuple[ExplanationRecord, ...]
    events: tuple[Event, ...]
    run: Run | None
    baseline: Baseline | None

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Those of the run that deviated, worst first."""
        readings = () if self.run is None else self.run.readings
        return tuple(reading for reading in worst_first(readings) if reading.level is not Level.NONE)

    @property
    def end(self) -> datetime:
        """When it was resolved, or now."""
        return self.incident.resolved_at or self.snapshot.now


def read_incident(engine: Engine, settings: Settings, now: datetime, incident_id: str) -> IncidentDetail | None:
    """Read an incident; None where there is none of that id.

    Args:
        engine: the store, only ever read.
        settings: the service.
        now: aware UTC.
        incident_id: the incident.

    Raises:
        StoreError: the database cannot be read, or holds a value that this version cannot read.
    """
    try:
        with database.reading(engine) as connection:
            incident = incident_by_id(connection, incident_id)
            return None if incident is None else _detail(connection, settings, now, incident)
    except ValueError as error:
        raise StoreError("The database holds a value that this version of Stillsafe cannot read.") from error


def _detail(connection: Connection, settings: Settings, now: datetime, incident: IncidentRecord) -> IncidentDetail:
    end = incident.resolved_at or now
    explanations = incident_explanations(connection, incident.incident_id)
    own_actions = [each for each in all_actions(connection) if incident.detected_at <= each.at <= end]
    run = key_run(connection, incident)
    return IncidentDetail(
        incident,
        _snapshot(connection, settings, now, incident),
        incident_price(connection, incident),
        tuple(newest_first(explanations)),
        incident_events(incident, own_actions, incident_alerts(connection, incident.incident_id)),
        run,
        _run_baseline(connection, settings, run),
    )


def _snapshot(connection: Connection, settings: Settings, now: datetime, incident: IncidentRecord) -> Snapshot:
    """The service now, with the runs of the incident and some before and after it."""
    conditions = version_conditions(connection, settings.policy, settings.model.version, now)
    length = (incident.resolved_at or now) - incident.detected_at
    lead = max(LEAD_RUNS * timedelta(seconds=settings.monitor.every), length / 4)
    start, end = incident.detected_at - lead, min(now, (incident.resolved_at or now) + lead)
    version = incident.model_version or settings.model.version
    runs, timeline = runs_of_time(connection, settings, version, start, end)
    return Snapshot(
        now=now,
        settings=settings,
        state=conditions.served_version.record.state,
        conditions=conditions,
        runs=runs,
        baseline=active_baseline(connection, settings.model.version),
        incidents=(),
        actions=(),
        last_request_at=last_request_at(connection, now),
        start=max(start, runs[0].record.window_start) if runs and not _is_before(runs[0], incident) else start,
        timeline=timeline,
    )


def _is_before(run: Run, incident: IncidentRecord) -> bool:
    return run.at < incident.detected_at


def _run_baseline(connection: Connection, settings: Settings, run: Run | None) -> Baseline | None:
    """What a run compared its window with: of the window's own hours, where these are page_texts."""
    if run is None or run.window is None or run.record.baseline_id is None:
        return None
    baseline = baseline_by_id(connection, run.record.baseline_id)
    if baseline is None:
        return None
    own_hours = composed_baseline(baseline, run.window.slot_counts, settings.policy.evidence)
    return own_hours if own_hours.is_hour_known else baseline


def incident_context(detail: IncidentDetail) -> dict[str, Any]:
    """What the template needs."""
    incident, snapshot = detail.incident, detail.snapshot
    settings, is_open = snapshot.settings, not incident.resolved
    features = damaged_features(detail.readings)
    state = snapshot.state
    is_held = state is not None and state.memory.hold is not None
    is_bypassed = state is not None and state.state is State.DEGRADED
    steps = incident_steps(incident.incident_id, can_hold=not is_held, is_bypassed=is_bypassed) if is_open else ()
    tone, word = _tone(detail)
    first = first_advice(detail.explanations, detail.readings) if is_open else ""
    page_texts = [first, incident.decision_reason, incident.resolution or "", incident.fallback_ended_reason or ""]
    return {
        "detail": detail,
        "incident": incident,
        "snapshot": snapshot,
        "tone": tone,
        "word": word,
        "headline": HEADLINES.get(tone, ""),
        "is_open": is_open,
        "cause": incident_cause(detail),
        "lasting": _lasting(detail),
        "answering": answering_sentence(detail, features),
        "advice": first,
        "commands": tuple(steps),
        "alarms": tuple(alarms(snapshot)) if is_open else (),
        "features": features,
        "distributions": _distributions(detail, features),
        "pairs": _pairs(detail),
        "loss": _loss(detail),
        "fallback_parts": fallback_parts(settings, _unusable_features(detail, features)),
        "explanations": explanation_steps(detail.explanations, page_texts),
        "timelines": _timelines(detail),
        "signal_charts": _signal_charts(detail),
    }


def incident_cause(detail: IncidentDetail) -> str:
    """The cause in one line: by the figures of its run, or by the stored sentence."""
    harm = None if detail.baseline is None else detail.baseline.harm
    line = cause_line(detail.readings, None if harm is None else harm.healthy_error)
    return line or stored_cause(detail.incident.decision_reason)


def _tone(detail: IncidentDetail) -> tuple[Tone, str]:
    incident, state = detail.incident, detail.snapshot.state
    if incident.resolved:
        return Tone.CALM, "RESOLVED"
    own_state = state if state is not None and state.memory.incident_id == incident.incident_id else None
    word = "OPEN" if own_state is None else own_state.state.value
    is_danger = word == State.DEGRADED.value or incident.severity == "CRITICAL"
    return Tone.DANGER if is_danger else Tone.WATCH, word


def _lasting(detail: IncidentDetail) -> str:
    incident = detail.incident
    length = span((detail.end - incident.detected_at).total_seconds())
    if incident.resolved_at is None:
        return f"Incident since {moment(incident.detected_at)}, for {length}"
    return f"Incident from {moment(incident.detected_at)} to {moment(incident.resolved_at)}, {length}"


def answering_sentence(detail: IncidentDetail, features: Sequence[str]) -> str:
    """What answers now, or what answered then."""
    incident, settings = detail.incident, detail.snapshot.settings
    state = detail.snapshot.state
    if incident.resolved:
        return "The model, again." if incident.fallback_activated else "The model, which was not bypassed."
    is_bypassed = state is not None and state.state is State.DEGRADED
    if is_bypassed and settings.service.mode == "observe":
        return "The model: the mode is observe. In mode enforce the fallback would answer."
    if is_bypassed:
        return answer_sentence(settings, _unusable_features(detail, features))
    return "The model."


def _unusable_features(detail: IncidentDetail, features: Sequence[str]) -> tuple[str, ...]:
    """The features that the fallback must not use, by the state while the incident is open."""
    state = detail.snapshot.state
    if not detail.incident.resolved and state is not None and state.damaged_features:
        return state.damaged_features
    return tuple(features)


def _distributions(detail: IncidentDetail, features: Sequence[str]) -> list[Distribution]:
    window = None if detail.run is None else detail.run.window
    if detail.baseline is None or window is None:
        return []
    signals = {reading.signal for reading in detail.readings}
    outputs = [name for name, signal in OUTPUT_SIGNALS.items() if signal in signals]
    return distributions(detail.baseline, window, [*features, *outputs])


def _pairs(detail: IncidentDetail) -> list[BrokenPair]:
    window = None if detail.run is None else detail.run.window
    if detail.baseline is None or window is None:
        return []
    names = [r.feature for r in detail.readings if r.signal is Signal.BROKEN_RELATION_RATE and r.feature]
    return broken_pairs(detail.baseline, window, names, detail.snapshot.settings.policy.evidence)


def _loss(detail: IncidentDetail) -> list[tuple[str, tuple[str, ...]]]:
    """Each loss with what it consists of."""
    harm = None if detail.baseline is None else detail.baseline.harm
    error = None if harm is None else harm.healthy_error
    return [(short_sentence(each, error), part_texts(each)) for each in detail.readings if each.signal in FAILURE]


def _timelines(detail: IncidentDetail) -> list[Chart]:
    snapshot = _chart_snapshot(detail)
    return [] if not snapshot.runs else [charts.state_chart(snapshot), charts.traffic_chart(snapshot)]


def _signal_charts(detail: IncidentDetail) -> list[Chart]:
    snapshot = _chart_snapshot(detail)
    keys = charted_keys(detail.incident.trigger_signals, [reading.key for reading in detail.readings])
    return [charts.signal_chart(snapshot, key) for key in keys[:MOST_CHARTS]] if snapshot.runs else []


def _chart_snapshot(detail: IncidentDetail) -> Snapshot:
    """The snapshot up to the end of what is drawn."""
    snapshot = detail.snapshot
    if detail.incident.resolved_at is None or not snapshot.runs:
        return snapshot
    return replace(snapshot, now=min(snapshot.now, max(snapshot.runs[-1].at, detail.incident.resolved_at)))
