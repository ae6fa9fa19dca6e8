"""Incidents: opened when the state leaves NORMAL, escalated when it worsens, resolved when it is NORMAL again.

Also the sentences: one per reading, with its numbers, from the templates in the signal table.
"""

import zlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillsafe.core.policy import RULES_VERSION, Policy
from stillsafe.core.signals import DAMAGE, SIGNALS, Evidence, Level, Reading, Signal, excess
from stillsafe.core.state import Memory, Severity, State, Streak, severity_of


class IncidentEvent(StrEnum):
    """What a run does to an incident."""

    OPENED = "opened"  #: The state left NORMAL.
    ESCALATED = "escalated"  #: The state went from WARNING to DEGRADED.
    RESOLVED = "resolved"  #: The state is NORMAL again.


@dataclass(frozen=True, slots=True)
class Incident:
    """One degradation, from the run that detects it to the run that resolves it.

    Attributes:
        incident_id: derived from the time of detection, so that a replay gives the same.
        event: what this run did to it.
        at: the run's time.
        severity: WARNING or CRITICAL; NORMAL where the run resolves it.
        trigger_signals: reading keys whose streaks made it.
        damaged_features: features that these signals name; fallback rules that read them are skipped.
        reason: the sentence, with the numbers.
    """

    incident_id: str
    event: IncidentEvent
    at: datetime
    severity: Severity
    trigger_signals: tuple[str, ...]
    damaged_features: tuple[str, ...]
    reason: str


def incident_of(
    policy: Policy,
    previous: Memory,
    memory: Memory,
    readings: tuple[Reading, ...],
    at: datetime,
    healthy_error: float | None = None,
    rules_version: int = RULES_VERSION,
) -> Incident | None:
    """What a run does to incidents, or None. A state that was inherited from another version opens one, too.

    Args:
        policy: the rules' numbers.
        previous: the memory before the run.
        memory: the memory after it.
        readings: the run's readings.
        at: the run's time.
        healthy_error: the model's error in the healthy period, if known; see `sentence`.
        rules_version: of the run. By rules 1 nothing was inherited, and ids did not name the version.
    """
    is_inherited = rules_version > 1 and previous.state is memory.state and previous.incident_id is None
    if previous.state is memory.state and not is_inherited:
        return None
    if memory.state is State.NORMAL:
        if previous.incident_id is None:
            return None
        reason = _resolution(previous, memory.calm_runs)
        return Incident(previous.incident_id, IncidentEvent.RESOLVED, at, Severity.NORMAL, (), (), reason)
    severity = Severity.CRITICAL if memory.state is State.DEGRADED else Severity.WARNING
    triggers = tuple(
        reading
        for reading in readings
        if severity_of(policy, memory.streaks.get(reading.key, _NO_STREAK)) is not Severity.NORMAL
        and reading.evidence is Evidence.BAD
    )
    return Incident(
        previous.incident_id or _new_id(at, memory.model_version if rules_version > 1 else None),
        IncidentEvent.ESCALATED if previous.incident_id else IncidentEvent.OPENED,
        at,
        severity,
        tuple(sorted(reading.key for reading in triggers)),
        tuple(sorted({r.feature for r in triggers if r.feature is not None and r.signal in DAMAGE})),
        _inheritance(previous) if is_inherited else _detection(memory, severity, triggers, healthy_error),
    )


def _new_id(at: datetime, model_version: str | None) -> str:
    """An id that no other version's incident of the same time has."""
    suffix = "" if model_version is None else f"-{zlib.crc32(model_version.encode()) & 0xFFFF:04x}"
    return f"inc-{at:%Y%m%dT%H%M%S}-{at.microsecond:06d}{suffix}"


def damaged_features(policy: Policy, memory: Memory) -> tuple[str, ...]:
    """Features that the fallback must not depend on: those of the open incident so far and of streaks that warn.

    A feature stays damaged until the state is NORMAL again; one calm run, or a gap, changes nothing.
    """
    keys = (key for key, streak in memory.streaks.items() if severity_of(policy, streak) is not Severity.NORMAL)
    parts = (key.partition(":") for key in keys)
    return tuple(sorted({*memory.damaged_features, *(name for signal, _, name in parts if name and signal in DAMAGE)}))


def sentence(reading: Reading, healthy_error: float | None = None) -> str:
    """One reading in words and numbers.

    Args:
        reading: what was measured.
        healthy_error: the model's error rate or mean absolute error in the healthy period, if known: the estimated
            performance is then given beside what was lost.
    """
    if reading.evidence is Evidence.INSUFFICIENT or reading.value is None or reading.reference is None:
        if reading.signal is Signal.SILENCE_SECONDS:
            return "Silence is not judged: no limit is set, no request has arrived yet, or a run has just judged it."
        return f"Not enough data to judge {reading.key} ({reading.sample_count} predictions)."
    limit = (reading.severe_limit if reading.level is Level.SEVERE else reading.moderate_limit) or 0.0
    text = SIGNALS[reading.signal].sentence.format(
        feature=reading.feature,
        value=reading.value,
        loss=100 * reading.value,
        count=reading.sample_count,
        reference=reading.reference,
        limit=limit,
        points=100 * limit,
        performance=_performance(reading.signal, reading.value, healthy_error),
    )
    if not reading.instead_of:
        return text
    others, verb = " and ".join(reading.instead_of), "is" if len(reading.instead_of) == 1 else "are"
    return f"{text} Either {reading.feature} or {others} {verb} damaged: the data does not show which."


def summary(readings: tuple[Reading, ...], healthy_error: float | None = None) -> str:
    """The worst three readings in full sentences, worst first, and the number of the others."""
    order = sorted(readings, key=lambda r: (r.level is not Level.SEVERE, -excess(r, from_reference=True), r.key))
    sentences = [sentence(reading, healthy_error) for reading in order[:3]]
    if rest := order[3:]:
        sentences.append(f"{len(rest)} more {'signal deviates' if len(rest) == 1 else 'signals deviate'}.")
    return " ".join(sentences)


def _performance(signal: Signal, loss: float, healthy_error: float | None) -> str:
    if healthy_error is None:
        return ":"
    if signal is Signal.ESTIMATED_ACCURACY_LOSS:
        return f" {max(1 - healthy_error - loss, 0):.0%} (healthy {1 - healthy_error:.0%}),"
    return f" {healthy_error * (1 + loss):.3g} (healthy {healthy_error:.3g}),"


def _detection(memory: Memory, severity: Severity, triggers: tuple[Reading, ...], healthy_error: float | None) -> str:
    streaks = [memory.streaks[reading.key] for reading in triggers if reading.key in memory.streaks]
    is_critical = severity is Severity.CRITICAL
    runs = max((s.severe if is_critical else s.deviating for s in streaks), default=0)
    kind = "severe" if is_critical else "deviating"
    return f"{severity.value} after {runs} consecutive {kind} runs. {summary(triggers, healthy_error)}"


def _inheritance(previous: Memory) -> str:
    since = "" if previous.since is None else f" since {previous.since:%Y-%m-%d %H:%M} UTC"
    return f"Inherited from version {previous.model_version}, which has been {previous.state.value}{since}."


def _resolution(previous: Memory, calm_runs: int) -> str:
    runs = f"{calm_runs} consecutive calm {'run' if calm_runs == 1 else 'runs'}"
    if previous.since is None:
        return f"Recovered after {runs}."
    return (
        f"Recovered after {runs}. The state had been {previous.state.value} since {previous.since:%Y-%m-%d %H:%M} UTC."
    )


_NO_STREAK = Streak()
