"""A run in words: what it concluded or lacked, what it did to an incident, and what ends or escalates the state."""

from stillsafe.core.evidence.label_streak import DEGRADED, LabelStreak, runs_to_leave, worst
from stillsafe.core.evidence.sentences import summary
from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Reading, Signal
from stillsafe.core.state import Memory, Severity, State, calm_runs_needed, critical_keys, recovery_runs_needed
from stillsafe.core.window import Window


def progress(policy: Policy, memory: Memory, reason: str) -> str:
    """What the run concluded, what ends the state, and what escalates it; empty in NORMAL."""
    if memory.state is State.NORMAL:
        return ""
    if memory.labels is not None and worst(memory.labels.level, memory.labels.others) != memory.labels.others:
        return _label_progress(policy, memory.labels, reason)
    runs, state = calm_runs_needed(policy, memory), memory.state.value
    sentences = [reason, f"{state} ends after {runs} consecutive calm runs ({memory.calm_runs} so far)."]
    if memory.state is State.DEGRADED and memory.runs_without_severe:
        run_count = recovery_runs_needed(policy, memory)
        sentences.append(
            f"It becomes WARNING after {run_count} runs without a severe reading ({memory.runs_without_severe} so far)."
        )
    if memory.state is State.WARNING and critical_keys(policy, memory):
        pays = f"{policy.critical_runs} consecutive runs in which the fallback is expected to do better"
        sentences.append(f"It becomes DEGRADED after {pays} ({memory.runs_with_advantage} so far).")
    elif memory.state is State.WARNING:
        severe = max((streak.severe for streak in memory.streaks.values()), default=0)
        escalation = f"{policy.critical_runs} consecutive severe runs of one signal ({severe} so far)"
        sentences.append(f"It becomes DEGRADED after {escalation}.")
    return " ".join(sentences).strip()


def _label_progress(policy: Policy, labels: LabelStreak, reason: str) -> str:
    """What ends a state that labels have made, and what escalates it."""
    runs = runs_to_leave(policy, labels)
    since = "" if labels.rows_from is None else f" of rows from {time_text(labels.rows_from)} on"
    kind = "without a severe loss" if labels.level == DEGRADED else "without a loss"
    sentences = [reason, f"Labels made it {labels.level}: it ends after {runs} consecutive labelled runs {kind}"]
    sentences[-1] += f"{since} ({labels.calm} so far)."
    if labels.level == DEGRADED:
        sentences.append("`stillsafe release` ends it too.")
    else:
        escalation = f"{policy.critical_runs} consecutive severe labelled runs ({labels.severe} so far)"
        sentences.append(f"It becomes DEGRADED after {escalation}, unless the labels show the fallback no better.")
    return " ".join(sentences).strip()


def uneventful_reason(policy: Policy, window: Window, readings: tuple[Reading, ...], evidence: Evidence) -> str:
    """What a run without a deviation concluded, or what it lacked."""
    if not readings:
        return f"Unwatched: model version {window.model_version} has no active baseline."
    if evidence is Evidence.INSUFFICIENT:
        return _inconclusive(policy, window)
    calm = f"Calm: {window.fresh.judged_count} new predictions, "
    if changes := ", ".join(reading.key for reading in readings if reading.is_change):
        return f"{calm}no alarm. Unusual, but of a size that costs less than what matters: {changes}."
    return f"{calm}every signal within its limits."


def _inconclusive(policy: Policy, window: Window) -> str:
    if window.clock_jump:
        return "Inconclusive: the clock moved on by more than a day without a request, so it may be wrong."
    fresh, total = window.fresh.judged_count, window.total.judged_count
    if total >= policy.min_predictions and fresh >= policy.min_fresh_predictions:
        return "Inconclusive: the confidences of this window are not all finite numbers."
    return (
        f"Inconclusive: {total} predictions in the window (at least {policy.min_predictions} are needed), "
        f"{fresh} of them new (at least {policy.min_fresh_predictions})"
        + (f", besides {copies} copies of repeated rows." if (copies := window.total.repeated_count) else ".")
    )


def detection_reason(
    memory: Memory, severity: Severity, triggers: tuple[Reading, ...], healthy_error: float | None
) -> str:
    """Why a run opened or escalated an incident: after how many runs, and by which readings."""
    streaks = [memory.streaks[reading.key] for reading in triggers if reading.key in memory.streaks]
    is_critical = severity is Severity.CRITICAL
    runs = max((s.severe if is_critical else s.deviating for s in streaks), default=0)
    kind = "severe" if is_critical else "deviating"
    by_labels = {reading.signal for reading in triggers} == {Signal.REALISED_LOSS}
    noun = "labelled runs" if by_labels else "runs"
    return f"{severity.value} after {runs} consecutive {kind} {noun}. {summary(triggers, healthy_error)}"


def inheritance_reason(previous: Memory) -> str:
    """Why a new model version starts in a state other than NORMAL."""
    since = "" if previous.since is None else f" since {time_text(previous.since)}"
    return f"Inherited from version {previous.model_version}, which has been {previous.state.value}{since}."


def resolution_reason(previous: Memory, calm_runs: int) -> str:
    """Why an incident is over, and what it ended."""
    runs = f"{calm_runs} consecutive calm {'run' if calm_runs == 1 else 'runs'}"
    if previous.labels is not None and previous.labels.state != previous.labels.others:
        runs = f"{previous.labels.calm + 1} consecutive labelled runs without a loss"
    if previous.since is None:
        return f"Recovered after {runs}."
    return f"Recovered after {runs}. The state had been {previous.state.value} since {time_text(previous.since)}."
