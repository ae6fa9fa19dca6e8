"""The one decision: policy, baseline, window and memory in; everything that follows from them out.

State is a fold of this function over monitoring runs. The same arguments give the same decision for ever.
"""

from dataclasses import dataclass, replace

from stillsafe.core.baseline import Baseline
from stillsafe.core.incident import Incident, IncidentEvent, damaged_features, follow, tell
from stillsafe.core.policy import Policy
from stillsafe.core.readings import read
from stillsafe.core.signals import Evidence, Reading, run_evidence
from stillsafe.core.state import Memory, Severity, calm_runs_needed, step, worst
from stillsafe.core.window import Window


@dataclass(frozen=True, slots=True)
class Decision:
    """What one run concludes.

    Attributes:
        evidence: calm, deviating, or too little to say.
        severity: the worst sustained signal.
        readings: every signal that was read.
        damaged_features: features that the fallback must not lean on.
        memory: what the next run starts from; `memory.effective_state` is what everybody obeys.
        incident: what this run did to an incident, or None.
        reason: one or a few sentences, with numbers.
    """

    evidence: Evidence
    severity: Severity
    readings: tuple[Reading, ...]
    damaged_features: tuple[str, ...]
    memory: Memory
    incident: Incident | None
    reason: str


def decide(policy: Policy, baseline: Baseline | None, window: Window, memory: Memory) -> Decision:
    """Judge one window. Total: every combination of arguments has an answer, and unknown is never calm."""
    speaking = baseline if baseline is not None and baseline.model_version == window.model_version else None
    judged = memory.last_conclusive_at
    ago = None if judged is None else (window.end - judged).total_seconds()
    readings = read(policy, speaking, window, ago) if speaking is not None else ()
    evidence = run_evidence(policy, window, readings)
    moved = step(
        policy,
        memory,
        readings,
        evidence,
        at=window.end,
        model_version=window.model_version,
        baseline_id=speaking.baseline_id if speaking is not None else None,
    )
    incident = follow(policy, memory, moved, readings, window.end)
    if incident is not None:
        open_id = None if incident.event is IncidentEvent.RESOLVED else incident.incident_id
        moved = replace(moved, incident_id=open_id)
    moved = replace(moved, damaged_features=damaged_features(policy, moved))
    reason = incident.reason if incident is not None else _reason(policy, window, readings, evidence, moved)
    return Decision(evidence, worst(policy, moved.streaks), readings, moved.damaged_features, moved, incident, reason)


def _reason(policy: Policy, window: Window, readings: tuple[Reading, ...], evidence: Evidence, moved: Memory) -> str:
    if not readings:
        return f"Unwatched: model version {window.model_version} has no active baseline."
    if evidence is Evidence.BAD:
        return tell(tuple(reading for reading in readings if reading.evidence is Evidence.BAD))
    if evidence is Evidence.INSUFFICIENT:
        return _inconclusive(policy, window)
    calm = f"Calm: {window.fresh.prediction_count} new predictions, every signal within its limits"
    needed = calm_runs_needed(policy, moved)
    return f"{calm} (calm run {moved.calm_runs} of {needed} that end {moved.state.value})." if needed else f"{calm}."


def _inconclusive(policy: Policy, window: Window) -> str:
    fresh, total = window.fresh.prediction_count, window.total.prediction_count
    if total >= policy.min_predictions and fresh >= policy.min_fresh_predictions:
        return "Inconclusive: the confidences of this window are not all finite numbers."
    return (
        f"Inconclusive: {total} predictions in the window (at least {policy.min_predictions} are needed), "
        f"{fresh} of them new (at least {policy.min_fresh_predictions})."
    )
