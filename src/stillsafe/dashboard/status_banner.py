"""The banner of the page: whether the model can be trusted, why, since when, and what answers now. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillsafe.core.signals import Evidence, Level
from stillsafe.core.state import Memory, State, recovery_runs_needed
from stillsafe.dashboard.cause import cause_line, stored_cause
from stillsafe.dashboard.deviations import worst_first
from stillsafe.dashboard.explanations import first_advice
from stillsafe.dashboard.fallback_view import answer_sentence
from stillsafe.dashboard.formatting import moment, span, time_since
from stillsafe.dashboard.snapshot import Snapshot


class Tone(StrEnum):
    """The colour and the sign of the banner. Its word has the same meaning."""

    CALM = "calm"  #: NORMAL, by a monitor that runs and has judged this model version.
    WATCH = "watch"  #: WARNING.
    DANGER = "danger"  #: DEGRADED.
    UNKNOWN = "unknown"  #: The monitor cannot judge the model, or does not run.


HEADLINES = {Tone.DANGER: "Not safe to trust.", Tone.WATCH: "Signals deviate: investigate."}
"""Whether to trust the model, in a tone of an open incident."""


@dataclass(frozen=True, slots=True)
class Banner:
    """What the banner shows.

    Attributes:
        tone: its colour and sign.
        word: the state, or `UNKNOWN`.
        headline: whether to trust the model.
        cause: why, in one line.
        advice: what to check first, or empty.
        reason: why, with every number.
        progress: what the last run concluded and what ends the state, or empty.
        since: since when, or None.
        answering: what answers requests now.
        alarms: further facts that need attention.
        rows: late, never judged and synthetic rows of the last run, or empty.
        outlook: what the next runs can change, or empty.
    """

    tone: Tone
    word: str
    headline: str
    cause: str
    advice: str
    reason: str
    progress: str
    since: datetime | None
    answering: str
    alarms: tuple[str, ...]
    rows: str
    outlook: str


def build_banner(snapshot: Snapshot) -> Banner:
    """The banner of a snapshot. Where the state is unknown it is never calm, and DEGRADED has precedence over all."""
    tone, headline = _tone(snapshot)
    unknown = tone is Tone.UNKNOWN
    return Banner(
        tone=tone,
        word="UNKNOWN" if unknown else _state(snapshot).value,
        headline=headline,
        cause=_cause(snapshot, tone),
        advice=_advice(snapshot, tone),
        reason=_reason(snapshot, tone),
        progress=snapshot.state.progress if snapshot.state is not None else "",
        since=_since(snapshot, tone),
        answering=_answering(snapshot),
        alarms=tuple(alarms(snapshot)),
        rows=_rows(snapshot),
        outlook="" if unknown else _outlook(snapshot),
    )


def is_stale(snapshot: Snapshot) -> bool:
    """Whether the monitor has not run within two intervals, or never."""
    return snapshot.state is None or snapshot.state.stale(snapshot.now)


def _state(snapshot: Snapshot) -> State:
    return snapshot.state.state if snapshot.state is not None else State.NORMAL


def _is_withheld(snapshot: Snapshot) -> bool:
    """Whether the severity is CRITICAL and the model goes on answering, as no fallback is expected to do better."""
    return _state(snapshot) is State.WARNING and snapshot.state is not None and snapshot.state.severity == "CRITICAL"


def _never_ran(snapshot: Snapshot) -> bool:
    return snapshot.state is None or snapshot.state.checked_at is None


def _tone(snapshot: Snapshot) -> tuple[Tone, str]:
    version = snapshot.settings.model.version
    if _state(snapshot) is State.DEGRADED:
        return Tone.DANGER, HEADLINES[Tone.DANGER]
    served_version = snapshot.conditions.served_version
    if not served_version.judged:
        return Tone.UNKNOWN, served_version.sentence
    if not served_version.monitored and any(each.monitored for each in snapshot.conditions.versions):
        return Tone.UNKNOWN, f"No run has judged model version {version} yet."
    if _never_ran(snapshot):
        return Tone.UNKNOWN, "The model is unmonitored: the monitor has never run."
    if is_stale(snapshot):
        return Tone.UNKNOWN, "The model is unmonitored: the monitor has stopped."
    if snapshot.baseline is None:
        return Tone.UNKNOWN, f"Model version {version} is unmonitored: it has no baseline."
    if _is_withheld(snapshot):
        return Tone.DANGER, HEADLINES[Tone.DANGER]
    if _state(snapshot) is State.WARNING:
        return Tone.WATCH, HEADLINES[Tone.WATCH]
    if snapshot.state is not None and snapshot.state.memory.last_conclusive_at is None:
        return Tone.UNKNOWN, "No run has been conclusive yet: too little traffic."
    return Tone.CALM, "Safe to trust."


def _reason(snapshot: Snapshot, tone: Tone) -> str:
    if snapshot.state is None:
        return "No monitoring run is recorded, so the state is not known."
    incident = snapshot.open_incident
    if tone in (Tone.DANGER, Tone.WATCH) and incident is not None and not snapshot.state.held:
        return incident.fallback_ended_reason or incident.decision_reason
    if tone is Tone.UNKNOWN and not _never_ran(snapshot):
        run = snapshot.last_run
        return f"The last run concluded: {snapshot.state.reason if run is None else run.record.reason}"
    return snapshot.state.reason


def _cause(snapshot: Snapshot, tone: Tone) -> str:
    state, incident = snapshot.state, snapshot.open_incident
    if state is not None and state.memory.hold is not None:
        return f"Held by {state.memory.hold.by}: {state.memory.hold.reason}"
    if tone not in (Tone.DANGER, Tone.WATCH) or incident is None:
        return _reason(snapshot, tone)
    harm = None if snapshot.baseline is None else snapshot.baseline.harm
    readings = () if snapshot.incident_run is None else snapshot.incident_run.readings
    line = cause_line(readings, None if harm is None else harm.healthy_error)
    return line or stored_cause(incident.decision_reason)


def _advice(snapshot: Snapshot, tone: Tone) -> str:
    """What to check first, while there is an open incident."""
    if tone not in (Tone.DANGER, Tone.WATCH) or snapshot.open_incident is None:
        return ""
    view = next(view for view in snapshot.incidents if not view.incident.resolved)
    readings = () if snapshot.incident_run is None else snapshot.incident_run.readings
    return first_advice(view.explanations, [each for each in worst_first(readings) if each.level is not Level.NONE])


def _since(snapshot: Snapshot, tone: Tone) -> datetime | None:
    """Since when the banner's word holds: the last change of the state, or when the monitor became stale."""
    if snapshot.state is None:
        return None
    if tone is not Tone.UNKNOWN:
        return snapshot.state.last_updated
    served_version = snapshot.conditions.served_version
    waiting_since = None if served_version.judged else served_version.record.unjudged_since
    return snapshot.state.valid_until if is_stale(snapshot) else waiting_since


def _answering(snapshot: Snapshot) -> str:
    settings, state = snapshot.settings, snapshot.state
    features = () if state is None else state.damaged_features
    fallback = answer_sentence(settings, features)
    if _state(snapshot) is State.DEGRADED:
        if settings.service.mode == "observe":
            return "The model still answers: the mode is observe. In mode enforce the fallback would."
        if features:
            return f"{fallback} Rules on {', '.join(features)} are skipped."
        return fallback
    if is_stale(snapshot) and settings.serving.on_stale_monitor == "fallback":
        return f'{fallback} The monitor is stale, and `on_stale_monitor` is "fallback".'
    if not snapshot.conditions.served_version.judged and settings.serving.on_not_judged == "fallback":
        return f'{fallback} The version is not judged, and `on_not_judged` is "fallback".'
    if _is_withheld(snapshot):
        return "The model answers: no fallback is expected to do better."
    return "The model answers."


def alarms(snapshot: Snapshot) -> Iterator[str]:
    """What else needs attention: the monitor, a hold, the baseline, other versions, the mode."""
    tone, _ = _tone(snapshot)
    version, every = snapshot.settings.model.version, span(snapshot.settings.monitor.every)
    if _never_ran(snapshot):
        yield f"The monitor has never run. It should run every {every}: use `stillsafe schedule install`."
    elif is_stale(snapshot) and snapshot.state is not None:
        last = f"{time_since(snapshot.state.checked_at, snapshot.now)}, at {moment(snapshot.state.checked_at)}"
        yield (
            f"The monitor is stale: it last ran {last}, and should run every {every}. "
            "Check `stillsafe schedule show` and the monitor's log."
        )
        if tone is Tone.UNKNOWN:
            yield f"The last known state is {snapshot.state.state.value}."
    if snapshot.state is not None and (hold := snapshot.state.memory.hold) is not None:
        yield f"Held by {hold.by} since {moment(hold.at)}: {hold.reason} (`stillsafe release` ends it)."
    if snapshot.baseline is None:
        yield (
            f"Model version {version} has no active baseline, so it cannot be judged. "
            "Make one with `stillsafe baseline create`."
        )
    if sentence := snapshot.conditions.served_version.sentence:
        yield sentence
    yield from _other_versions(snapshot)
    if snapshot.settings.service.mode == "observe":
        yield "Observe mode: every run is recorded, and the model is never bypassed."
    yield from _inconclusive(snapshot)


def _other_versions(snapshot: Snapshot) -> Iterator[str]:
    """Other versions with traffic that are not judged, or whose state is not NORMAL."""
    for other in snapshot.conditions.others:
        if not other.judged or other.state is not State.NORMAL or not other.monitored:
            monitored = "" if other.monitored else " No monitor run has evaluated it."
            yield f"Model version {other.model_version} is {other.state.value}.{monitored} {other.sentence}".strip()


def _rows(snapshot: Snapshot) -> str:
    """Rows of the last run that were late, never judged or synthetic."""
    run = snapshot.last_run
    if run is None:
        return ""
    counts = {
        "late": run.record.late_count or 0,
        "never judged": run.record.expired_count or 0,
        "synthetic": run.synthetic_count,
    }
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _inconclusive(snapshot: Snapshot) -> Iterator[str]:
    run = snapshot.last_run
    if snapshot.state is None or run is None or run.record.evidence != Evidence.INSUFFICIENT.value:
        return
    last = snapshot.state.memory.last_conclusive_at
    history = f"the last conclusive run was {time_since(last, snapshot.now)}" if last else "no run was conclusive yet"
    yield f"The last run had too little traffic to be conclusive; {history}."


def _outlook(snapshot: Snapshot) -> str:
    if snapshot.state is None:
        return ""
    memory, policy = snapshot.state.memory, snapshot.settings.policy
    if memory.hold is not None:
        return f"After the release the state is {memory.state.value}."
    match memory.state:
        case State.DEGRADED:
            run_count = recovery_runs_needed(policy, memory)
            calm = f"{memory.calm_runs} of {run_count} calm runs towards recovery."
            not_severe = f" {memory.runs_without_severe} of {run_count} runs without a severe reading towards WARNING."
            return calm + (not_severe if memory.runs_without_severe else "")
        case State.WARNING if memory.calm_runs:
            return f"{memory.calm_runs} of {policy.warning_recovery_runs} calm runs towards NORMAL."
        case _:
            return _streak_outlook(memory, policy.warning_runs, policy.critical_runs)


def _streak_outlook(memory: Memory, warning_runs: int, critical_runs: int) -> str:
    severe = max((streak.severe for streak in memory.streaks.values()), default=0)
    deviating = max((streak.deviating for streak in memory.streaks.values()), default=0)
    if severe:
        return f"{severe} of {critical_runs} severe runs towards DEGRADED."
    if deviating and memory.state is State.NORMAL:
        return f"{deviating} of {warning_runs} deviating runs towards WARNING."
    return f"{memory.calm_runs} calm runs in a row." if memory.calm_runs > 1 else ""
