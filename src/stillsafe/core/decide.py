"""The one decision: policy, baseline, window and memory in, everything that follows from them out.

State is a fold of this function over monitoring runs. The same arguments always give the same decision.
"""

from dataclasses import dataclass, replace

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.measures import has_enough_rows, leaves_predictions
from stillsafe.core.evidence.realised_loss import realised_readings
from stillsafe.core.evidence.relation_record import NO_RECORD
from stillsafe.core.evidence.run_sentences import progress, uneventful_reason
from stillsafe.core.evidence.sentences import run_counts, summary
from stillsafe.core.evidence.sources import source_readings, window_readings
from stillsafe.core.evidence.view import viewed_features
from stillsafe.core.incident import Incident, IncidentEvent, damaged_features, incident_of
from stillsafe.core.policy import RULES_VERSION, Policy
from stillsafe.core.readings import evidence_without_labels, run_evidence
from stillsafe.core.signals import Evidence, Reading
from stillsafe.core.state import STEPS, Memory, Severity, is_next, worst_severity
from stillsafe.core.window import Window


@dataclass(frozen=True, slots=True)
class Decision:
    """What one run concludes.

    Attributes:
        evidence: healthy, a deviation, or too little data.
        severity: the worst sustained signal.
        readings: one reading of every signal.
        damaged_features: features that the fallback must not depend on.
        memory: what the next run starts from; `memory.effective_state` is the state in force.
        incident: what this run did to an incident, or None.
        reason: one or a few sentences, with numbers.
        progress: what this run concluded, and what ends or escalates the state; empty in NORMAL.
    """

    evidence: Evidence
    severity: Severity
    readings: tuple[Reading, ...]
    damaged_features: tuple[str, ...]
    memory: Memory
    incident: Incident | None
    reason: str
    progress: str = ""


def decide(policy: Policy, baseline: Baseline | None, window: Window, memory: Memory) -> Decision:
    """Judge one window. Total: every combination of arguments has an answer, and unknown is never calm."""
    last_end = memory.last_conclusive_at
    seconds_since = None if last_end is None else (window.end - last_end).total_seconds()
    matching = _matching_baseline(baseline, window)
    is_continued = matching is not None and is_next(
        policy, memory, window.end, window.model_version, matching.baseline_id
    )
    record = memory.relations if is_continued else NO_RECORD
    readings, rest = (window_readings(policy, matching, each, seconds_since, record) for each in (window, window.rest))
    readings = source_readings(policy, window, readings, rest)
    readings = (*readings, *realised_readings(policy, matching, window))
    return conclude(policy, baseline, window, memory, readings, run_evidence(policy, window, readings))


def conclude(
    policy: Policy,
    baseline: Baseline | None,
    window: Window,
    memory: Memory,
    readings: tuple[Reading, ...],
    evidence: Evidence,
    rules_version: int = RULES_VERSION,
) -> Decision:
    """What follows from a run's readings: severity, state and incident, by the step of a version of the rules.

    Every version of Stillsafe can recompute this half of a decision; see `state.STEPS`.
    """
    matching = _matching_baseline(baseline, window)
    other_evidence = evidence_without_labels(policy, window, readings, evidence)
    next_memory = STEPS.get(rules_version, STEPS[RULES_VERSION])(
        policy,
        memory,
        readings,
        other_evidence,
        at=window.end,
        model_version=window.model_version,
        baseline_id=matching.baseline_id if matching is not None else None,
        **({"is_scored": _is_scored(policy, window)} if rules_version > 2 else {}),
    )
    healthy_error = matching.harm.healthy_error if matching is not None and matching.harm is not None else None
    incident = incident_of(policy, memory, next_memory, readings, window.end, healthy_error, rules_version)
    if incident is not None:
        open_id = None if incident.event is IncidentEvent.RESOLVED else incident.incident_id
        next_memory = replace(next_memory, incident_id=open_id)
    features = None if matching is None else matching.features
    damage = viewed_features(damaged_features(policy, next_memory, rules_version), features)
    # Refusals alone may make a run bad, which judges none of the few predictions beside them.
    is_waiting = other_evidence is Evidence.INSUFFICIENT or leaves_predictions(policy, window)
    waiting = [memory.unjudged_since, window.oldest_unjudged_at] if is_waiting else []
    next_memory = replace(next_memory, damaged_features=damage, unjudged_since=min(filter(None, waiting), default=None))
    if incident is not None:
        reason = incident.reason
    elif evidence is Evidence.BAD:
        reason = summary(tuple(reading for reading in readings if reading.evidence is Evidence.BAD), healthy_error)
    else:
        reason = uneventful_reason(policy, window, readings, evidence)
    severity = worst_severity(policy, next_memory.streaks)
    remaining_steps = progress(policy, next_memory, "" if incident is not None else reason)
    if incident is None and evidence is Evidence.BAD:
        reason = f"{reason} {run_counts(policy, next_memory)}"
    return Decision(evidence, severity, readings, damage, next_memory, incident, reason, remaining_steps)


def _matching_baseline(baseline: Baseline | None, window: Window) -> Baseline | None:
    """The baseline, if it is one of the window's model version."""
    return baseline if baseline is not None and baseline.model_version == window.model_version else None


def _is_scored(policy: Policy, window: Window) -> bool:
    """Whether the model scored enough rows that are newer than the last conclusive run, itself or as a shadow."""
    new_count = window.fresh.judged_count - window.late_count
    is_enough = has_enough_rows(policy, window) and new_count >= policy.min_fresh_predictions
    return is_enough and (window.shadow or policy.observe)
