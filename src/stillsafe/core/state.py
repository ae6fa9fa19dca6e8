"""The state machine: severity, state, streaks, and `step`, one run's move from memory to memory.

    NORMAL ──warning_runs deviating──▶ WARNING ──critical_runs severe──▶ DEGRADED
       ▲ ▲                              │   ▲                             │  │
       │ └──warning_recovery_runs calm──┘   └──recovery_runs not severe───┘  │
       └─────────────────────────recovery_runs calm──────────────────────────┘

Each relapse doubles `recovery_runs`. No single run moves the state, in either direction. A run that concludes nothing
moves nothing. With `bypass = "when_it_pays"`, a CRITICAL severity that rests on the estimated loss alone leads to
DEGRADED only while the fallback is expected to do better; otherwise the state is WARNING.

Labels have a streak of their own (`evidence/label_streak.py`). The state is the worse of what labels and what
everything else make of it; neither moves the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from stillsafe.core.evidence.advantage import is_priced, run_advantage
from stillsafe.core.evidence.label_streak import LabelStreak, next_streak, worst
from stillsafe.core.evidence.relation_record import Record, next_record
from stillsafe.core.policy import Policy, Recovery
from stillsafe.core.signals import CLIENT, Evidence, Level, Reading, Signal


class Severity(StrEnum):
    """How bad the sustained evidence of a run is."""

    NORMAL = "NORMAL"  #: No signal has deviated for long enough.
    WARNING = "WARNING"  #: A signal has deviated for `warning_runs`.
    CRITICAL = "CRITICAL"  #: A signal has been severe for `critical_runs`.


class State(StrEnum):
    """What the service does about it."""

    NORMAL = "NORMAL"  #: The model answers.
    WARNING = "WARNING"  #: The model answers; somebody should investigate.
    DEGRADED = "DEGRADED"  #: The fallback answers and the model is bypassed.


@dataclass(frozen=True, slots=True)
class Streak:
    """Consecutive conclusive runs in which one signal deviated, and in which it was severe."""

    deviating: int = 0
    severe: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """An operator's hold: who, why and since when."""

    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that one run passes on to the next.

    Attributes:
        state: the state by the evidence, regardless of an operator's hold.
        since: when `state` was entered, or None before the first run.
        streaks: per reading key, only those that deviate.
        calm_runs: consecutive conclusive runs without any deviation.
        relapses: degradations in a row that each came soon after the last recovery.
        runs_since_recovery: conclusive runs since the last recovery, or None if there was none or it is over.
        last_run_at: end of the last run's window.
        last_conclusive_at: end of the last conclusive run's window; rows before it are not fresh.
        model_version, baseline_id: of the runs that the streaks were counted in.
        incident_id: the open incident, or None.
        damaged_features: features that the open incident has named so far, sorted; none while NORMAL.
        hold: the operator's hold, or None.
        unjudged_since: time of the oldest request that still waits for a conclusive run, or None.
        runs_without_severe: consecutive conclusive runs in DEGRADED, with the model's scores, without a severe reading.
        runs_with_advantage: consecutive conclusive runs in which the fallback was expected to do better.
        runs_without_advantage: consecutive conclusive runs with the model's scores in which it was not.
        incident_severity: the highest severity of the open incident so far, from rules 3 on; NORMAL without one.
        labels: what labels have made of the state; None before the first labelled run.
        relations: how clearly the last conclusive runs showed each feature's relations broken, from rules 3 on.
    """

    state: State = State.NORMAL
    since: datetime | None = None
    streaks: Mapping[str, Streak] = field(default_factory=dict)
    calm_runs: int = 0
    relapses: int = 0
    runs_since_recovery: int | None = None
    last_run_at: datetime | None = None
    last_conclusive_at: datetime | None = None
    model_version: str | None = None
    baseline_id: str | None = None
    incident_id: str | None = None
    damaged_features: tuple[str, ...] = ()
    hold: Hold | None = None
    unjudged_since: datetime | None = None
    runs_without_severe: int = 0
    runs_with_advantage: int = 0
    runs_without_advantage: int = 0
    incident_severity: Severity = Severity.NORMAL
    labels: LabelStreak | None = None
    relations: Record = field(default_factory=dict)

    @property
    def effective_state(self) -> State:
        """The state in force: DEGRADED while an operator holds it, and milder once one has released it."""
        is_released = self.labels is not None and self.labels.is_released
        state = State(self.labels.state_in_force) if self.labels is not None and is_released else self.state
        return State.DEGRADED if self.hold else state


def memory_after_release(memory: Memory) -> Memory:
    """The memory after an operator's release: it ends the hold, and without one what labels have made DEGRADED."""
    if memory.hold is not None or memory.labels is None:
        return replace(memory, hold=None)
    return replace(memory, labels=memory.labels.release())


def recovery_runs_needed(policy: Policy, memory: Memory) -> int:
    """Calm runs that end DEGRADED: doubled by each relapse, up to the policy's maximum."""
    return min(policy.recovery_runs << min(memory.relapses, 30), policy.max_recovery_runs)


def calm_runs_needed(policy: Policy, memory: Memory) -> int:
    """Consecutive calm runs that end the present state; 0 in NORMAL."""
    match memory.state:
        case State.NORMAL:
            return 0
        case State.WARNING:
            return policy.warning_recovery_runs
        case State.DEGRADED:
            return recovery_runs_needed(policy, memory)


def severity_of(policy: Policy, streak: Streak) -> Severity:
    """The severity of one signal's streak."""
    if streak.severe >= policy.critical_runs:
        return Severity.CRITICAL
    return Severity.WARNING if streak.deviating >= policy.warning_runs else Severity.NORMAL


def worst_severity(policy: Policy, streaks: Mapping[str, Streak]) -> Severity:
    """The worst severity among the streaks: any critical signal makes the run critical."""
    severities = {severity_of(policy, streak) for streak in streaks.values()}
    if Severity.CRITICAL in severities:
        return Severity.CRITICAL
    return Severity.WARNING if Severity.WARNING in severities else Severity.NORMAL


def critical_keys(policy: Policy, memory: Memory) -> list[str]:
    """Keys of the readings whose streaks are critical."""
    return [key for key, streak in memory.streaks.items() if severity_of(policy, streak) is Severity.CRITICAL]


def step_of_rules_1(
    policy: Policy,
    memory: Memory,
    readings: tuple[Reading, ...],
    evidence: Evidence,
    *,
    at: datetime,
    model_version: str,
    baseline_id: str | None,
) -> Memory:
    """The memory after one run, by the first version of the rules.

    A gap longer than the policy's, another model version or another baseline starts every streak anew, calm
    ones included, and never changes the state by itself. Nor does an inconclusive run: whatever its single
    readings are, no streak grows or ends.
    """
    is_comparable = (memory.model_version, memory.baseline_id) in {(None, None), (model_version, baseline_id)}
    is_consecutive = is_comparable and not _gap(policy, memory, at)
    is_conclusive = evidence is not Evidence.INSUFFICIENT
    streaks = memory.streaks if is_consecutive else {}
    streaks = _advance(streaks, readings) if is_conclusive else streaks
    calm_runs = _calm(memory.calm_runs if is_consecutive else 0, evidence)
    next_memory = replace(
        memory,
        streaks=streaks,
        calm_runs=calm_runs,
        runs_since_recovery=_since_recovery(policy, memory, is_conclusive),
        last_run_at=at,
        last_conclusive_at=at if is_conclusive else memory.last_conclusive_at,
        model_version=model_version,
        baseline_id=baseline_id,
        since=memory.since or at,
    )
    if not is_conclusive:
        return next_memory
    # A streak that is kept without a new reading is no new evidence, so only a deviating run makes the state worse.
    severity = worst_severity(policy, streaks) if evidence is Evidence.BAD else Severity.NORMAL
    return _transition(policy, next_memory, severity, at)


def step_of_rules_2(
    policy: Policy, memory: Memory, readings: tuple[Reading, ...], evidence: Evidence, **run: Any
) -> Memory:
    """The memory after one run, by the second version of the rules; see `step_of_rules_1`.

    Deviations of the clients alone, such as refusals, are calm for leaving DEGRADED where the model was judged.
    """
    others = [reading for reading in readings if reading.signal not in CLIENT]
    was_judged = any(r.evidence is Evidence.OK and r.signal is not Signal.SILENCE_SECONDS for r in others)
    is_calm = was_judged and all(r.evidence is not Evidence.BAD for r in others)
    if memory.state is State.DEGRADED and evidence is Evidence.BAD and is_calm:
        evidence = Evidence.OK
    return step_of_rules_1(policy, memory, readings, evidence, **run)


def step(
    policy: Policy,
    memory: Memory,
    readings: tuple[Reading, ...],
    evidence: Evidence,
    *,
    is_scored: bool = False,
    **run: Any,
) -> Memory:
    """The memory after one run; see `step_of_rules_2`. `incident` opens and resolves incidents.

    Args:
        policy: the rules' numbers.
        memory: of the run before.
        readings: of the run.
        evidence: of the run by everything but labels.
        is_scored: whether the model scored enough rows that are newer than the last conclusive run. Without that, only
            calm runs end DEGRADED.
        run: `at`, `model_version` and `baseline_id`.
    """
    old_memory, others = memory, tuple(reading for reading in readings if reading.signal is not Signal.REALISED_LOSS)
    memory = _without_labels(memory, run["model_version"])
    if evidence is not Evidence.INSUFFICIENT:
        memory = _count_exits(policy, memory, others, is_scored=is_scored, **run)
    memory = step_of_rules_2(policy, memory, others, evidence, **run)
    memory = _with_labels(policy, old_memory, memory, readings)
    severity = Severity.CRITICAL if memory.state is State.DEGRADED else Severity.WARNING
    is_bad = Evidence.BAD in (evidence, *(each.evidence for each in readings if each.signal is Signal.REALISED_LOSS))
    if is_bad and critical_keys(policy, memory):
        severity = Severity.CRITICAL
    if memory.state is State.NORMAL or memory.incident_severity is Severity.CRITICAL:
        severity = Severity.NORMAL if memory.state is State.NORMAL else Severity.CRITICAL
    return replace(memory, incident_severity=severity)


Step = Callable[..., Memory]

STEPS: Mapping[int, Step] = {1: step_of_rules_1, 2: step_of_rules_2, 3: step}
"""The step of each version of the rules. A new step gets a new version, and the older one stays for replays."""


def _without_labels(memory: Memory, model_version: str) -> Memory:
    """The memory by everything but labels. Labels of one model show nothing of another, which inherits the state.

    A state that is another one than these two make, after an edit of the database for example, counts as it is.
    """
    labels, streaks = memory.labels, {k: v for k, v in memory.streaks.items() if k != Signal.REALISED_LOSS}
    if labels is None or memory.model_version != model_version:
        state = State(labels.state_in_force) if labels is not None and labels.is_released else memory.state
        return replace(memory, state=state, streaks=streaks, labels=None)
    return replace(
        memory, streaks=streaks, state=State(labels.others) if labels.state == memory.state else memory.state
    )


def _with_labels(policy: Policy, old_memory: Memory, memory: Memory, readings: tuple[Reading, ...]) -> Memory:
    """The memory after a run with what labels make of it; the same where no label ever came."""
    at, is_comparable = memory.last_run_at or datetime.min, old_memory.baseline_id == memory.baseline_id
    labels = next_streak(policy, memory.labels, readings, at, is_comparable=is_comparable)
    if labels is None:
        return memory
    labels = replace(labels, others=memory.state.value)
    streaks = {Signal.REALISED_LOSS.value: Streak(labels.deviating, labels.severe)} if labels.deviating else {}
    state = State(worst(labels.level, memory.state))
    since = at if state is not old_memory.state else old_memory.since or at
    return replace(memory, state=state, since=since, streaks={**memory.streaks, **streaks}, labels=labels)


def _count_exits(
    policy: Policy, memory: Memory, readings: tuple[Reading, ...], *, is_scored: bool, at: datetime, **run: Any
) -> Memory:
    """The memory with one more run without a severe reading, and with or without an advantage of the fallback."""
    if not is_next(policy, memory, at, **run):
        memory = replace(memory, runs_without_severe=0, runs_with_advantage=0, runs_without_advantage=0, relations={})
    severe_keys = {reading.key for reading in readings if reading.level is Level.SEVERE}
    # A severe signal that cannot be read now is no evidence that its harm is over.
    unread_keys = {reading.key for reading in readings if reading.evidence is Evidence.INSUFFICIENT}
    is_unknown = any(streak.severe for key, streak in memory.streaks.items() if key in unread_keys)
    counts = memory.state is State.DEGRADED and is_scored and not is_unknown
    pays, _ = run_advantage(policy, readings, memory.damaged_features)
    has_advantage = bool(pays) or any(not is_priced(policy, key) for key in severe_keys)
    return replace(
        memory,
        runs_without_severe=0 if severe_keys else memory.runs_without_severe + counts,
        runs_with_advantage=memory.runs_with_advantage if pays is None else (memory.runs_with_advantage + 1) * pays,
        runs_without_advantage=0 if has_advantage else memory.runs_without_advantage + (counts and pays is not None),
        relations=next_record(memory.relations, readings, policy.evidence),
    )


def is_next(policy: Policy, memory: Memory, at: datetime, model_version: str, baseline_id: str | None) -> bool:
    """Whether a run goes on where the last one ended: with its model version and baseline, and without a long gap."""
    is_comparable = (memory.model_version, memory.baseline_id) == (model_version, baseline_id)
    return is_comparable and not _gap(policy, memory, at)


def _gap(policy: Policy, memory: Memory, at: datetime) -> bool:
    return memory.last_run_at is not None and (at - memory.last_run_at).total_seconds() > policy.max_gap_seconds


def _advance(streaks: Mapping[str, Streak], readings: tuple[Reading, ...]) -> dict[str, Streak]:
    next_streaks = dict(streaks)
    for reading in readings:
        streak = next_streaks.pop(reading.key, Streak())
        if reading.evidence is Evidence.BAD:
            severe = streak.severe + 1 if reading.level is Level.SEVERE else 0
            next_streaks[reading.key] = Streak(streak.deviating + 1, severe)
        elif reading.evidence is Evidence.INSUFFICIENT and streak != Streak():
            next_streaks[reading.key] = streak
    return next_streaks


def _calm(calm_runs: int, evidence: Evidence) -> int:
    if evidence is Evidence.INSUFFICIENT:
        return calm_runs
    return calm_runs + 1 if evidence is Evidence.OK else 0


def _since_recovery(policy: Policy, memory: Memory, is_conclusive: bool) -> int | None:
    runs = memory.runs_since_recovery
    if runs is None or not is_conclusive:
        return runs
    return runs + 1 if runs < policy.relapse_runs else None


def _transition(policy: Policy, memory: Memory, severity: Severity, at: datetime) -> Memory:
    match memory.state:
        case State.NORMAL | State.WARNING if severity is Severity.CRITICAL and _bypasses(policy, memory):
            relapses = memory.relapses + 1 if memory.runs_since_recovery is not None else 0
            return replace(_leave(memory, State.DEGRADED, at), calm_runs=0, relapses=relapses, runs_since_recovery=None)
        case State.NORMAL if severity is not Severity.NORMAL:
            return _leave(memory, State.WARNING, at)
        case State.WARNING if memory.calm_runs >= calm_runs_needed(policy, memory):
            return _back_to_normal(memory, at)
        case State.DEGRADED if memory.calm_runs >= calm_runs_needed(policy, memory):
            return replace(_back_to_normal(memory, at), runs_since_recovery=0)
        case State.DEGRADED if _is_harm_over(policy, memory):
            return replace(_leave(memory, State.WARNING, at), runs_since_recovery=0)
        case _:
            return memory


def _bypasses(policy: Policy, memory: Memory) -> bool:
    is_all_priced = all(is_priced(policy, key) for key in critical_keys(policy, memory))
    return not is_all_priced or memory.runs_with_advantage >= policy.critical_runs


def _is_harm_over(policy: Policy, memory: Memory) -> bool:
    """Whether DEGRADED ends in WARNING: nothing was severe for long enough, or the fallback had no advantage."""
    if policy.recovery is Recovery.CALM:
        return False
    runs = max(memory.runs_without_severe, memory.runs_without_advantage)
    return runs >= recovery_runs_needed(policy, memory)


def _leave(memory: Memory, state: State, at: datetime) -> Memory:
    return replace(memory, state=state, since=at, runs_without_severe=0, runs_without_advantage=0)


def _back_to_normal(memory: Memory, at: datetime) -> Memory:
    # A signal without recent readings keeps its streak and would act again on old evidence, so all streaks end here.
    return replace(_leave(memory, State.NORMAL, at), streaks={}, damaged_features=())
