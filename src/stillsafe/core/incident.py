"""Incidents: opened when the state leaves NORMAL, escalated when it worsens, resolved when it is NORMAL again."""

import zlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillsafe.core.evidence.bypass_sentences import fallback_end, fallback_outlook
from stillsafe.core.evidence.run_sentences import detection_reason, inheritance_reason, resolution_reason
from stillsafe.core.policy import RULES_VERSION, Policy
from stillsafe.core.signals import DAMAGE, Evidence, Reading
from stillsafe.core.state import Memory, Severity, State, Streak, severity_of


class IncidentEvent(StrEnum):
    """What a run does to an incident."""

    OPENED = "opened"  #: The state left NORMAL.
    ESCALATED = "escalated"  #: The severity became CRITICAL, or the state DEGRADED.
    FALLBACK_ENDED = "fallback_ended"  #: The state went from DEGRADED to WARNING: the model answers again.
    RESOLVED = "resolved"  #: The state is NORMAL again.


@dataclass(frozen=True, slots=True)
class Incident:
    """One degradation, from the run that detects it to the run that resolves it.

    Attributes:
        incident_id: derived from the time of detection, so that a replay gives the same.
        event: what this run did to it.
        at: the run's time.
        severity: the highest so far, WARNING or CRITICAL; NORMAL where the run resolves it.
        trigger_signals: reading keys whose streaks made it.
        damaged_features: features that these signals name; fallback rules that read them are skipped.
        reason: the sentence, with the numbers.
        is_bypassed: whether the state is DEGRADED, so that the fallback answers.
    """

    incident_id: str
    event: IncidentEvent
    at: datetime
    severity: Severity
    trigger_signals: tuple[str, ...]
    damaged_features: tuple[str, ...]
    reason: str
    is_bypassed: bool = False


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
    event = _event(previous, memory, is_inherited=is_inherited)
    if event is None:
        return None
    if event is IncidentEvent.RESOLVED:
        reason = resolution_reason(previous, memory.calm_runs)
        return Incident(previous.incident_id or "", event, at, Severity.NORMAL, (), (), reason)
    is_critical = memory.state is State.DEGRADED or memory.incident_severity is Severity.CRITICAL
    severity = Severity.CRITICAL if is_critical else Severity.WARNING
    triggers = tuple(
        reading
        for reading in readings
        if severity_of(policy, memory.streaks.get(reading.key, _NO_STREAK)) is not Severity.NORMAL
        and reading.evidence is Evidence.BAD
    )
    if event is IncidentEvent.FALLBACK_ENDED:
        reason = fallback_end(policy, previous, readings, healthy_error)
    elif is_inherited:
        reason = inheritance_reason(previous)
    else:
        reason = detection_reason(memory, severity, triggers, healthy_error)
        reason += fallback_outlook(policy, memory, readings) if is_critical else ""
    return Incident(
        previous.incident_id or _new_id(at, memory.model_version if rules_version > 1 else None),
        event,
        at,
        severity,
        tuple(sorted(reading.key for reading in triggers)),
        tuple(sorted({r.feature for r in triggers if r.feature is not None and r.signal in DAMAGE})),
        reason,
        memory.state is State.DEGRADED,
    )


def _event(previous: Memory, memory: Memory, *, is_inherited: bool) -> IncidentEvent | None:
    """What a run does to the incident, or None. By rules 1 and 2, `incident_severity` is always NORMAL."""
    if memory.state is State.NORMAL:
        is_over = previous.state is not State.NORMAL and previous.incident_id is not None
        return IncidentEvent.RESOLVED if is_over else None
    if previous.state is State.DEGRADED and memory.state is State.WARNING:
        return IncidentEvent.FALLBACK_ENDED
    is_newly_critical = previous.state is State.WARNING and previous.incident_severity is not memory.incident_severity
    is_escalated = is_newly_critical and memory.incident_severity is Severity.CRITICAL
    if previous.state is memory.state and not is_inherited and not is_escalated:
        return None
    return IncidentEvent.ESCALATED if previous.incident_id else IncidentEvent.OPENED


def _new_id(at: datetime, model_version: str | None) -> str:
    """An id that no other version's incident of the same time has."""
    suffix = "" if model_version is None else f"-{zlib.crc32(model_version.encode()) & 0xFFFF:04x}"
    return f"inc-{at:%Y%m%dT%H%M%S}-{at.microsecond:06d}{suffix}"


def damaged_features(policy: Policy, memory: Memory, rules_version: int = RULES_VERSION) -> tuple[str, ...]:
    """Features that the fallback must not depend on: those of streaks that warn, and in DEGRADED all named so far.

    In DEGRADED a feature stays damaged until the model answers again; one calm run, or a gap, changes nothing. Up to
    rules 2 it stayed so in WARNING too.
    """
    keys = (key for key, streak in memory.streaks.items() if severity_of(policy, streak) is not Severity.NORMAL)
    parts = (key.partition(":") for key in keys)
    earlier = memory.damaged_features if memory.state is State.DEGRADED or rules_version <= 2 else ()
    return tuple(sorted({*earlier, *(name for signal, _, name in parts if name and signal in DAMAGE)}))


_NO_STREAK = Streak()
