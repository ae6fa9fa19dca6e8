"""The one glance: is the model safe to trust, why, since when, and who answers now. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillsafe.core.signals import Evidence
from stillsafe.core.state import Memory, State, recovery_runs_needed
from stillsafe.dashboard.formatting import ago, moment, span
from stillsafe.dashboard.snapshot import Snapshot


class Tone(StrEnum):
    """How the banner looks. Its word says the same."""

    CALM = "calm"
    WATCH = "watch"
    DANGER = "danger"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the banner says.

    Attributes:
        tone: its colour and sign.
        word: the state in one word; `UNKNOWN` where nobody can tell.
        headline: whether to trust the model.
        because: why, with numbers.
        since: since when, or None.
        answering: who answers callers now.
        alarms: what else must not be overlooked.
        ahead: what the next runs can bring.
    """

    tone: Tone
    word: str
    headline: str
    because: str
    since: datetime | None
    answering: str
    alarms: tuple[str, ...]
    ahead: str


def judge(seen: Snapshot) -> Verdict:
    """The banner of a snapshot. Unknown is never calm; DEGRADED is never hidden by anything."""
    tone, headline = _tone(seen)
    obeyed = _obeyed(seen)
    return Verdict(
        tone=tone,
        word="UNKNOWN" if tone is Tone.UNKNOWN else obeyed.value,
        headline=headline,
        because=_because(seen, tone),
        since=_since(seen, tone),
        answering=_answering(seen),
        alarms=tuple(_alarms(seen, tone)),
        ahead="" if tone is Tone.UNKNOWN else _ahead(seen),
    )


def _obeyed(seen: Snapshot) -> State:
    return seen.state.state if seen.state is not None else State.NORMAL


def _never_ran(seen: Snapshot) -> bool:
    return seen.state is None or seen.state.checked_at is None


def stale(seen: Snapshot) -> bool:
    """Whether the monitor has not run within two intervals, or never."""
    return seen.state is None or seen.state.stale(seen.now)


def _other_version(seen: Snapshot) -> str | None:
    """The version that was judged last, where it is not the one that is served."""
    judged = seen.state.memory.model_version if seen.state is not None else None
    return judged if judged is not None and judged != seen.settings.model.version else None


def _tone(seen: Snapshot) -> tuple[Tone, str]:
    if _obeyed(seen) is State.DEGRADED:
        return Tone.DANGER, "Not safe to trust."
    if _never_ran(seen):
        return Tone.UNKNOWN, "Nobody is watching: the monitor has never run."
    if stale(seen):
        return Tone.UNKNOWN, "Nobody is watching: the monitor has stopped."
    if seen.baseline is None:
        return Tone.UNKNOWN, f"Model version {seen.settings.model.version} is not watched."
    if _other_version(seen) is not None:
        return Tone.UNKNOWN, f"Model version {seen.settings.model.version} has not been judged yet."
    if _obeyed(seen) is State.WARNING:
        return Tone.WATCH, "Be on your guard."
    if seen.state is not None and seen.state.memory.last_conclusive_at is None:
        return Tone.UNKNOWN, "Not judged yet: no run had traffic enough."
    return Tone.CALM, "Safe to trust."


def _because(seen: Snapshot, tone: Tone) -> str:
    if seen.state is None:
        return "Nothing has been decided yet: no monitoring run is recorded."
    opened = next((told.incident for told in seen.incidents if not told.incident.resolved), None)
    if tone in (Tone.DANGER, Tone.WATCH) and opened is not None and not seen.state.held:
        return opened.decision_reason
    if tone is Tone.UNKNOWN and not _never_ran(seen):
        return f"The last word was: {seen.state.reason}"
    return seen.state.reason


def _since(seen: Snapshot, tone: Tone) -> datetime | None:
    """Since when the word holds: the state's last change, or the moment from which the monitor counts as dead."""
    if seen.state is None:
        return None
    if tone is not Tone.UNKNOWN:
        return seen.state.last_updated
    return seen.state.valid_until if stale(seen) else None


def _answering(seen: Snapshot) -> str:
    fallback = f"The fallback answers (by default {seen.settings.fallback.default})."
    if _obeyed(seen) is State.DEGRADED:
        if seen.settings.service.mode == "observe":
            return "The model still answers: the mode is observe. Enforced, the fallback would."
        if seen.state is not None and seen.state.damaged_features:
            return f"{fallback} Its rules do without {', '.join(seen.state.damaged_features)}."
        return fallback
    if stale(seen) and seen.settings.serving.on_stale_monitor == "fallback":
        return f"{fallback} The monitor is stale, and the settings ask for it."
    return "The model answers."


def _alarms(seen: Snapshot, tone: Tone) -> Iterator[str]:
    every = span(seen.settings.monitor.every)
    if _never_ran(seen):
        yield f"The monitor has never run. It should run every {every}: `stillsafe schedule install` sees to it."
    elif stale(seen) and seen.state is not None:
        last = f"{ago(seen.state.checked_at, seen.now)}, at {moment(seen.state.checked_at)}"
        yield (
            f"The monitor is stale: it last ran {last}, and should run every {every}. "
            "See `stillsafe schedule show` and the monitor's log."
        )
        if tone is Tone.UNKNOWN:
            yield f"The last known state is {seen.state.state.value}."
    if seen.state is not None and (hold := seen.state.memory.hold) is not None:
        yield f"Held by {hold.by} since {moment(hold.at)}: {hold.reason} (`stillsafe release` ends it)."
    if seen.baseline is None:
        yield (
            f"Model version {seen.settings.model.version} has no active baseline, so nothing about it can be judged: "
            "`stillsafe baseline create` makes one."
        )
    if (other := _other_version(seen)) is not None:
        yield f"The last run judged model version {other}; version {seen.settings.model.version} is served."
    if seen.settings.service.mode == "observe":
        yield "Observe mode: everything is judged and recorded, and the model is never bypassed."
    yield from _inconclusive(seen)


def _inconclusive(seen: Snapshot) -> Iterator[str]:
    last = seen.last_run
    if seen.state is None or last is None or last.record.evidence != Evidence.INSUFFICIENT.value:
        return
    known = seen.state.memory.last_conclusive_at
    when = f"the last conclusive one was {ago(known, seen.now)}" if known else "no run has been conclusive yet"
    yield f"The last run had too little traffic to conclude anything; {when}."


def _ahead(seen: Snapshot) -> str:
    if seen.state is None:
        return ""
    memory, policy = seen.state.memory, seen.settings.policy
    if memory.hold is not None:
        return f"Once released, the state is what the evidence says: {memory.state.value}."
    match memory.state:
        case State.DEGRADED:
            return f"{memory.calm_runs} of {recovery_runs_needed(policy, memory)} calm runs towards recovery."
        case State.WARNING if memory.calm_runs:
            return f"{memory.calm_runs} of {policy.warning_recovery_runs} calm runs towards NORMAL."
        case _:
            return _streaks(memory, policy.warning_runs, policy.critical_runs)


def _streaks(memory: Memory, warning_runs: int, critical_runs: int) -> str:
    severe = max((streak.severe for streak in memory.streaks.values()), default=0)
    deviating = max((streak.deviating for streak in memory.streaks.values()), default=0)
    if severe:
        return f"{severe} of {critical_runs} severe runs towards DEGRADED."
    if deviating and memory.state is State.NORMAL:
        return f"{deviating} of {warning_runs} deviating runs towards WARNING."
    return f"{memory.calm_runs} calm runs in a row." if memory.calm_runs > 1 else ""
