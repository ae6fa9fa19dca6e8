"""Incidents: opened when the state leaves NORMAL, escalated when it worsens, resolved when it is back.

Also the sentences: one per reading, with its numbers, from a closed set of templates.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillsafe.core.policy import Policy
from stillsafe.core.signals import DAMAGE, Evidence, Level, Reading, Signal
from stillsafe.core.state import Memory, Severity, State, Streak, severity_of


class IncidentEvent(StrEnum):
    """What a run does to an incident."""

    OPENED = "opened"
    ESCALATED = "escalated"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Incident:
    """One degradation, from the run that detects it to the run that resolves it.

    Attributes:
        incident_id: derived from the time of detection, so that recomputing gives the same.
        event: what this run did to it.
        at: the run's time.
        severity: WARNING or CRITICAL; NORMAL where the run resolves it.
        trigger_signals: reading keys whose streaks made it.
        damaged_features: features that these signals name: fallback rules that read them are skipped.
        reason: the sentence, with the numbers.
    """

    incident_id: str
    event: IncidentEvent
    at: datetime
    severity: Severity
    trigger_signals: tuple[str, ...]
    damaged_features: tuple[str, ...]
    reason: str


def follow(
    policy: Policy, before: Memory, after: Memory, readings: tuple[Reading, ...], at: datetime
) -> Incident | None:
    """What the move from `before` to `after` does to incidents, or None."""
    if before.state is after.state:
        return None
    if after.state is State.NORMAL:
        if before.incident_id is None:
            return None
        reason = _recovered(before, after.calm_runs)
        return Incident(before.incident_id, IncidentEvent.RESOLVED, at, Severity.NORMAL, (), (), reason)
    event = IncidentEvent.ESCALATED if before.incident_id else IncidentEvent.OPENED
    severity = Severity.CRITICAL if after.state is State.DEGRADED else Severity.WARNING
    triggers = tuple(
        reading
        for reading in readings
        if severity_of(policy, after.streaks.get(reading.key, _NO_STREAK)) is not Severity.NORMAL
        and reading.evidence is Evidence.BAD
    )
    incident_id = before.incident_id or f"inc-{at:%Y%m%dT%H%M%S}-{at.microsecond:06d}"
    return Incident(
        incident_id,
        event,
        at,
        severity,
        tuple(sorted(reading.key for reading in triggers)),
        tuple(sorted({r.feature for r in triggers if r.feature is not None and r.signal in DAMAGE})),
        _detected(after, severity, triggers),
    )


def damaged_features(policy: Policy, memory: Memory) -> tuple[str, ...]:
    """Features that the fallback must not lean on: named by the open incident so far, or by a streak that warns.

    A feature stays damaged until the state is NORMAL again: one calm run, or a gap, repairs nothing.
    """
    warned = (key for key, streak in memory.streaks.items() if severity_of(policy, streak) is not Severity.NORMAL)
    named = (key.partition(":") for key in warned)
    return tuple(sorted({*memory.damaged_features, *(name for signal, _, name in named if name and signal in DAMAGE)}))


def sentence(reading: Reading) -> str:
    """One reading in words and numbers, fit for an engineer at night."""
    if reading.evidence is Evidence.INSUFFICIENT or reading.value is None or reading.reference is None:
        if reading.signal is Signal.SILENCE_SECONDS:
            return "Silence is not judged: no limit is set, or no request was ever seen."
        return f"Too little evidence on {reading.key} ({reading.sample_count} predictions)."
    if reading.signal is Signal.SILENCE_SECONDS:
        return f"No request for {reading.value:.0f} s; more than {_number(reading.moderate_limit)} s is unusual."
    limit = reading.severe_limit if reading.level is Level.SEVERE else reading.moderate_limit
    if reading.signal is Signal.AVG_CONFIDENCE:
        direction = "above" if reading.value > reading.reference else "below"
        distance = f"{abs(reading.value - reading.reference):.3f} {direction}"
        return (
            f"Mean confidence is {reading.value:.3f} over {reading.sample_count} predictions, {distance} the healthy "
            f"{reading.reference:.3f} (limit {_number(limit)})."
        )
    if reading.signal is Signal.ESTIMATED_ACCURACY_LOSS:
        return (
            f"The model is estimated to get {100 * reading.value:.1f} points fewer of {reading.sample_count} "
            f"predictions right than when healthy (limit {100 * (limit or 0):.1f} points)."
        )
    if reading.signal is Signal.ESTIMATED_ERROR_GROWTH:
        return (
            f"The model's mean absolute error over {reading.sample_count} predictions is estimated to be "
            f"{reading.value:.0%} above the healthy one (limit {limit or 0:.0%})."
        )
    share = f"{reading.value:.1%} of {reading.sample_count}"
    said = _SHARES[reading.signal].format(feature=reading.feature, share=share)
    told = f"{said}, {reading.reference:.1%} when healthy (limit +{100 * (limit or 0):.1f} points)."
    instead = " and ".join(reading.instead_of)
    return f"{told} Either {reading.feature} is damaged or {instead}." if instead else told


def tell(readings: tuple[Reading, ...]) -> str:
    """The worst three readings in full sentences, worst first, and how many more there are."""
    ordered = sorted(readings, key=lambda r: (r.level is not Level.SEVERE, -_excess(r), r.key))
    more = len(ordered) - 3
    told = [sentence(reading) for reading in ordered[:3]]
    if more > 0:
        told.append(f"{more} more {'signal deviates' if more == 1 else 'signals deviate'}.")
    return " ".join(told)


def _detected(after: Memory, severity: Severity, triggers: tuple[Reading, ...]) -> str:
    streaks = [after.streaks[reading.key] for reading in triggers if reading.key in after.streaks]
    runs = max((s.severe if severity is Severity.CRITICAL else s.deviating for s in streaks), default=0)
    how = "severe" if severity is Severity.CRITICAL else "deviating"
    return f"{severity.value} after {runs} consecutive {how} runs. {tell(triggers)}"


def _recovered(before: Memory, calm_runs: int) -> str:
    since = f" The state had been {before.state.value} since {before.since:%Y-%m-%d %H:%M} UTC." if before.since else ""
    return f"Recovered after {calm_runs} consecutive calm {'run' if calm_runs == 1 else 'runs'}.{since}"


def _excess(reading: Reading) -> float:
    if reading.value is None or reading.reference is None or not reading.moderate_limit:
        return 0.0
    return abs(reading.value - reading.reference) / reading.moderate_limit


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


_NO_STREAK = Streak()

_SHARES = {
    Signal.LOW_CONFIDENCE_RATE: "Confidence is low in {share} predictions",
    Signal.MISSING_RATE: "{feature} is missing in {share} predictions",
    Signal.UNSEEN_CATEGORY_RATE: "{feature} has a category never seen in the healthy period in {share} values",
    Signal.OUT_OF_RANGE_RATE: "{feature} is outside its healthy range in {share} values",
    Signal.REPEATED_VALUE_RATE: "{feature} is one and the same number in {share} values",
    Signal.BROKEN_RELATION_RATE: "{feature} no longer goes with the other features in {share} predictions",
    Signal.DISTRIBUTION_CHANGE: "{feature} is distributed otherwise: {share} values lie where none would be expected",
    Signal.CONFIDENCE_CHANGE: "Confidence is distributed otherwise: {share} lie where none would be expected",
    Signal.PREDICTION_CHANGE: "The answers are distributed otherwise: {share} predictions are others than expected",
    Signal.REFUSAL_RATE: "The schema refused {share} requests",
    Signal.MODEL_ERROR_RATE: "The model failed on {share} predictions",
}
