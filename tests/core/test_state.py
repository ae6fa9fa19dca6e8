"""The state machine, one move at a time."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stillsafe.core.policy import RULES_VERSION, Bypass, FallbackPrice, Policy, Recovery
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import (
    STEPS,
    Hold,
    Memory,
    Severity,
    State,
    Streak,
    calm_runs_needed,
    recovery_runs_needed,
    severity_of,
    step,
    worst_severity,
)

POLICY = Policy()
START = datetime(2026, 3, 2, 10, tzinfo=UTC)
LATER = START + timedelta(minutes=10)
AFTER_RUN = Memory(since=START, last_run_at=START, last_conclusive_at=START, model_version="1", baseline_id="b")


def reading(evidence: Evidence, level: Level = Level.NONE, feature: str | None = "temp") -> Reading:
    """A reading of the missing rate."""
    return Reading(Signal.MISSING_RATE, feature, evidence, level, 0.4, 0.0, 0.05, 0.25, 200)


CALM = reading(Evidence.OK)
MODERATE = reading(Evidence.BAD, Level.MODERATE)
SEVERE = reading(Evidence.BAD, Level.SEVERE)
UNREAD = reading(Evidence.INSUFFICIENT)
KEY = SEVERE.key


def step_once(memory: Memory, *readings: Reading, evidence: Evidence | None = None, at: datetime = LATER) -> Memory:
    """One run by the same version and baseline."""
    bad = any(r.evidence is Evidence.BAD for r in readings)
    run_evidence = evidence or (Evidence.BAD if bad else Evidence.OK)
    return step(POLICY, memory, readings, run_evidence, at=at, model_version="1", baseline_id="b")


@pytest.mark.parametrize(
    ("streak", "severity"),
    [
        (Streak(0, 0), Severity.NORMAL),
        (Streak(1, 1), Severity.NORMAL),
        (Streak(2, 0), Severity.WARNING),
        (Streak(9, 2), Severity.WARNING),
        (Streak(3, 3), Severity.CRITICAL),
    ],
)
def test_severity_of_a_streak(streak: Streak, severity: Severity) -> None:
    """WARNING takes two consecutive deviating runs, CRITICAL three consecutive severe ones."""
    assert severity_of(POLICY, streak) is severity


@pytest.mark.parametrize(
    ("streaks", "severity"),
    [
        ({}, Severity.NORMAL),
        ({"a": Streak(2, 2), "b": Streak(1, 0)}, Severity.WARNING),
        ({"a": Streak(2, 0), "b": Streak(3, 3)}, Severity.CRITICAL),
    ],
)
def test_any_critical_signal_makes_the_run_critical(streaks: Mapping[str, Streak], severity: Severity) -> None:
    """The worst streak decides."""
    assert worst_severity(POLICY, streaks) is severity


@pytest.mark.parametrize(
    ("streak", "now", "next_streak"),
    [
        (Streak(1, 1), SEVERE, Streak(2, 2)),
        (Streak(2, 2), MODERATE, Streak(3, 0)),
        (Streak(2, 0), SEVERE, Streak(3, 1)),
        (Streak(2, 2), CALM, None),
    ],
)
def test_a_streak_counts_consecutive_runs(streak: Streak, now: Reading, next_streak: Streak | None) -> None:
    """A moderate run between severe ones starts the severe count anew; a calm one ends the streak."""
    assert step_once(replace(AFTER_RUN, streaks={KEY: streak}), now).streaks.get(KEY) == next_streak


def test_a_signal_that_cannot_be_read_keeps_its_streak() -> None:
    """No evidence neither grows nor heals a streak, whatever the rest of the run says."""
    memory = replace(AFTER_RUN, streaks={KEY: Streak(1, 1)})
    assert step_once(memory, UNREAD, reading(Evidence.OK, feature="wind")).streaks == {KEY: Streak(1, 1)}


@pytest.mark.parametrize("state", [State.WARNING, State.DEGRADED])
def test_back_in_normal_no_old_streak_acts(state: State) -> None:
    """A streak of a signal that could not be read through a recovery does not degrade again on old evidence."""
    memory = replace(AFTER_RUN, state=state, streaks={KEY: Streak(9, 9)}, calm_runs=2, incident_id="inc")
    after_recovery = step_once(memory, UNREAD, reading(Evidence.OK, feature="wind"))
    assert after_recovery.state is State.NORMAL
    again = step_once(
        after_recovery, UNREAD, reading(Evidence.BAD, Level.MODERATE, "wind"), at=LATER + timedelta(minutes=10)
    )
    assert again.state is State.NORMAL


def test_an_inconclusive_run_heals_nothing() -> None:
    """Even where a single reading of it was calm."""
    memory = replace(AFTER_RUN, streaks={KEY: Streak(1, 1)}, calm_runs=0)
    new_memory = step_once(memory, CALM, evidence=Evidence.INSUFFICIENT)
    assert replace(new_memory, last_run_at=START) == memory


@pytest.mark.parametrize(("relapses", "run_count"), [(0, 3), (1, 6), (2, 12), (3, 24), (4, 24), (10**9, 24)])
def test_each_relapse_doubles_the_calm_runs(relapses: int, run_count: int) -> None:
    """Up to the policy's maximum, and however many there were."""
    memory = Memory(state=State.DEGRADED, relapses=relapses)
    assert recovery_runs_needed(POLICY, memory) == calm_runs_needed(POLICY, memory) == run_count


def test_calm_runs_that_end_the_other_states() -> None:
    """Two end WARNING; nothing need end NORMAL."""
    assert calm_runs_needed(POLICY, Memory(state=State.WARNING)) == 2
    assert calm_runs_needed(POLICY, Memory()) == 0


@pytest.mark.parametrize(("runs_since", "relapses"), [(None, 0), (0, 3), (19, 3), (20, 0)])
def test_a_relapse_is_a_degradation_soon_after_a_recovery(runs_since: int | None, relapses: int) -> None:
    """Within twenty conclusive runs it is the same failure; later it is a new one."""
    memory = replace(
        AFTER_RUN, state=State.WARNING, streaks={KEY: Streak(2, 2)}, runs_since_recovery=runs_since, relapses=2
    )
    new_memory = step_once(memory, SEVERE)
    assert new_memory.state is State.DEGRADED
    assert (new_memory.relapses, new_memory.runs_since_recovery, new_memory.calm_runs) == (relapses, None, 0)


@pytest.mark.parametrize(("seconds", "streak"), [(1_800, Streak(2, 2)), (1_801, Streak(1, 1))])
def test_a_gap_starts_streaks_anew(seconds: int, streak: Streak) -> None:
    """Runs further apart than the policy's gap are not consecutive."""
    memory = replace(AFTER_RUN, streaks={KEY: Streak(1, 1)})
    assert step_once(memory, SEVERE, at=START + timedelta(seconds=seconds)).streaks[KEY] == streak


def test_an_inconclusive_run_is_a_run_all_the_same() -> None:
    """A gap is the monitor's silence, not the traffic's."""
    quiet = step_once(replace(AFTER_RUN, streaks={KEY: Streak(1, 1)}), evidence=Evidence.INSUFFICIENT)
    assert step_once(quiet, SEVERE, at=START + timedelta(minutes=40)).streaks[KEY] == Streak(2, 2)


@pytest.mark.parametrize(("version", "baseline_id"), [("2", "b"), ("1", "c"), ("1", None)])
def test_another_version_or_baseline_starts_streaks_anew(version: str, baseline_id: str | None) -> None:
    """What another model did is no evidence for or against this one; the state stays."""
    memory = replace(AFTER_RUN, state=State.DEGRADED, streaks={KEY: Streak(2, 2)}, calm_runs=2)
    new_memory = step(POLICY, memory, (CALM,), Evidence.OK, at=LATER, model_version=version, baseline_id=baseline_id)
    assert (new_memory.state, new_memory.calm_runs, new_memory.streaks) == (State.DEGRADED, 1, {})
    assert (new_memory.model_version, new_memory.baseline_id) == (version, baseline_id)


def test_since_tells_when_the_state_was_entered() -> None:
    """It moves with the state and not with the runs."""
    first = step_once(Memory(), CALM, at=START)
    assert first.since == START
    assert step_once(first, CALM).since == START
    assert step_once(replace(AFTER_RUN, streaks={KEY: Streak(1, 1)}), SEVERE).since == LATER


def test_fresh_rows_begin_after_the_last_conclusive_run() -> None:
    """An inconclusive run leaves its rows to the next."""
    assert step_once(AFTER_RUN, CALM).last_conclusive_at == LATER
    quiet = step_once(AFTER_RUN, evidence=Evidence.INSUFFICIENT)
    assert (quiet.last_run_at, quiet.last_conclusive_at) == (LATER, START)


def test_a_hold_is_degraded_for_everybody() -> None:
    """Whatever the evidence says beneath."""
    hold = Hold("ada", "to be sure", START)
    assert replace(AFTER_RUN, hold=hold).effective_state is State.DEGRADED
    assert AFTER_RUN.effective_state is State.NORMAL


def test_the_installed_rules_fold_by_the_newest_step() -> None:
    """Every version of the rules up to the installed one has its step, and the installed one's is `step`."""
    assert list(STEPS) == list(range(1, RULES_VERSION + 1))
    assert STEPS[RULES_VERSION] is step


REFUSALS = Reading(Signal.REFUSAL_RATE, None, Evidence.BAD, Level.MODERATE, 0.5, 0.0, 0.05, None, 200)
LOUD = Reading(Signal.SILENCE_SECONDS, None, Evidence.OK, Level.NONE, 5.0, 60.0, 900.0, None, 0)
DEGRADED = replace(AFTER_RUN, state=State.DEGRADED, calm_runs=2)


def test_refusals_never_block_a_recovery() -> None:
    """The third run in which nothing but refusals deviates ends DEGRADED; in WARNING they are a deviation."""
    assert step_once(DEGRADED, REFUSALS, CALM).state is State.NORMAL
    assert step_once(replace(DEGRADED, state=State.WARNING), REFUSALS, CALM).calm_runs == 0


@pytest.mark.parametrize("others", [(), (LOUD,), (UNREAD, LOUD), (CALM, MODERATE)])
def test_refusals_alone_recover_nothing(others: tuple[Reading, ...]) -> None:
    """Where no prediction was judged, or anything else deviates, the run is not calm."""
    memory = step_once(DEGRADED, REFUSALS, *others)
    assert (memory.state, memory.calm_runs) == (State.DEGRADED, 0)


def test_the_first_rules_let_refusals_block_a_recovery() -> None:
    """A run of rules 1 is folded as it was decided."""
    run = {"at": LATER, "model_version": "1", "baseline_id": "b"}
    memory = STEPS[1](POLICY, DEGRADED, (REFUSALS, CALM), Evidence.BAD, **run)
    assert (memory.state, memory.calm_runs) == (State.DEGRADED, 0)


LOSS_KEY = Signal.ESTIMATED_ACCURACY_LOSS.value
PRICED_POLICY = Policy(
    bypass=Bypass.WHEN_IT_PAYS,
    fallback_prices=(FallbackPrice(("temp",), 0.8), FallbackPrice((), 0.6)),
    model_score=0.9,
)


def loss(corruption: float, level: Level = Level.SEVERE) -> Reading:
    """An estimated loss by damage."""
    evidence = Evidence.OK if level is Level.NONE else Evidence.BAD
    signal = Signal.ESTIMATED_ACCURACY_LOSS
    return Reading(signal, None, evidence, level, corruption, 0.0, 0.02, 0.0375, 200, corruption=corruption)


def fold(policy: Policy, memory: Memory, *runs: tuple[Reading, ...], is_scored: bool = True) -> Memory:
    """Runs ten minutes apart."""
    for readings in runs:
        evidence = Evidence.BAD if any(r.evidence is Evidence.BAD for r in readings) else Evidence.OK
        at = (memory.last_run_at or START) + timedelta(minutes=10)
        memory = step(
            policy, memory, readings, evidence, is_scored=is_scored, at=at, model_version="1", baseline_id="b"
        )
    return memory


def test_degraded_ends_in_warning_where_nothing_was_severe_for_long_enough() -> None:
    """The same number of runs as for a recovery; the severe streaks are over and the deviating ones go on."""
    degraded = fold(POLICY, AFTER_RUN, (SEVERE,), (SEVERE,), (SEVERE,))
    assert degraded.state is State.DEGRADED
    old_memory = fold(POLICY, degraded, (MODERATE,), (MODERATE,))
    assert (old_memory.state, old_memory.runs_without_severe) == (State.DEGRADED, 2)
    memory = fold(POLICY, old_memory, (MODERATE,))
    assert (memory.state, memory.runs_since_recovery, memory.incident_severity) == (State.WARNING, 0, Severity.CRITICAL)
    assert memory.streaks == {KEY: Streak(6, 0)}


@pytest.mark.parametrize("interruption", [(SEVERE,), (CALM, loss(0.5))])
def test_a_severe_run_starts_the_exit_anew(interruption: tuple[Reading, ...]) -> None:
    """Of any signal, whatever made the state DEGRADED."""
    degraded = fold(POLICY, AFTER_RUN, (SEVERE,), (SEVERE,), (SEVERE,), (MODERATE,), (MODERATE,), interruption)
    assert (degraded.state, degraded.runs_without_severe) == (State.DEGRADED, 0)


def test_a_severe_signal_that_cannot_be_read_keeps_degraded() -> None:
    """Its harm may go on unseen, so such a run is no run without a severe reading."""
    degraded = fold(POLICY, AFTER_RUN, *[(SEVERE,)] * 3)
    wind = reading(Evidence.BAD, Level.MODERATE, "wind")
    assert fold(POLICY, degraded, *[(UNREAD, wind)] * 9).state is State.DEGRADED


def test_without_scores_or_with_recovery_calm_only_calm_runs_end_degraded() -> None:
    """The model is not trusted again on rows that it has not scored."""
    degraded = fold(POLICY, AFTER_RUN, *[(SEVERE,)] * 3)
    assert fold(POLICY, degraded, *[(MODERATE,)] * 30, is_scored=False).state is State.DEGRADED
    calm_only = replace(POLICY, recovery=Recovery.CALM)
    assert fold(calm_only, degraded, *[(MODERATE,)] * 30).state is State.DEGRADED
    assert fold(calm_only, degraded, *[(CALM,)] * 3).state is State.NORMAL


@pytest.mark.parametrize("change", ["gap", "version"])
def test_a_gap_or_another_version_starts_the_exit_anew(change: str) -> None:
    """Runs that are not comparable do not add up."""
    memory = fold(POLICY, AFTER_RUN, *[(SEVERE,)] * 3, (MODERATE,), (MODERATE,))
    at = (memory.last_run_at or START) + timedelta(minutes=60 if change == "gap" else 10)
    version = "2" if change == "version" else "1"
    later = step(
        POLICY, memory, (MODERATE,), Evidence.BAD, is_scored=True, at=at, model_version=version, baseline_id="b"
    )
    assert (later.state, later.runs_without_severe) == (State.DEGRADED, 1)


def test_a_relapse_doubles_the_runs_of_both_exits() -> None:
    """Whichever exit came before."""
    warning = fold(POLICY, AFTER_RUN, *[(SEVERE,)] * 3, *[(MODERATE,)] * 3)
    again = fold(POLICY, warning, *[(SEVERE,)] * 3)
    assert (again.state, again.relapses, recovery_runs_needed(POLICY, again)) == (State.DEGRADED, 1, 6)
    assert fold(POLICY, again, *[(MODERATE,)] * 5).state is State.DEGRADED
    assert fold(POLICY, again, *[(MODERATE,)] * 6).state is State.WARNING
    assert fold(POLICY, again, *[(CALM,)] * 6).state is State.NORMAL


def test_where_it_does_not_pay_a_critical_estimate_leads_to_warning() -> None:
    """The severity of the incident is CRITICAL nevertheless; with `always` the same runs bypass the model."""
    runs = [(loss(0.08),)] * 5
    withheld = fold(PRICED_POLICY, AFTER_RUN, *runs)
    assert (withheld.state, withheld.incident_severity) == (State.WARNING, Severity.CRITICAL)
    assert fold(replace(PRICED_POLICY, bypass=Bypass.ALWAYS), AFTER_RUN, *runs).state is State.DEGRADED


def test_the_same_three_runs_count_for_severity_and_for_advantage() -> None:
    """Where each of them has an advantage, the third bypasses; where one had none, three later ones do."""
    assert fold(PRICED_POLICY, AFTER_RUN, *[(loss(0.2),)] * 3).state is State.DEGRADED
    memory = fold(PRICED_POLICY, AFTER_RUN, (loss(0.08),), (loss(0.2),), (loss(0.2),))
    assert (memory.state, memory.runs_with_advantage) == (State.WARNING, 2)
    assert fold(PRICED_POLICY, memory, (loss(0.2),)).state is State.DEGRADED


def test_damage_to_what_the_rules_read_lowers_the_price() -> None:
    """With `temp` damaged only the default is left, whose lead to make up is larger."""
    temp = reading(Evidence.BAD, Level.MODERATE)
    assert fold(PRICED_POLICY, AFTER_RUN, *[(loss(0.2), temp)] * 4).state is State.WARNING
    assert fold(PRICED_POLICY, AFTER_RUN, *[(loss(0.35), temp)] * 3).state is State.DEGRADED


@pytest.mark.parametrize(
    "signal", [Signal.MODEL_ERROR_RATE, Signal.MISSING_RATE, Signal.AVG_CONFIDENCE], ids=lambda signal: signal.value
)
def test_every_other_severe_signal_bypasses_at_once(signal: Signal) -> None:
    """Model errors, and what is severe by the owner's own limit, are not priced."""
    other = Reading(signal, None, Evidence.BAD, Level.SEVERE, 0.4, 0.0, 0.05, 0.25, 200)
    assert fold(PRICED_POLICY, AFTER_RUN, *[(loss(0.08), other)] * 3).state is State.DEGRADED


def test_three_runs_without_an_advantage_end_the_bypass() -> None:
    """The estimate may stay severe: the model answers again with severity CRITICAL, unless calm runs are asked for."""
    degraded = fold(PRICED_POLICY, AFTER_RUN, *[(loss(0.2),)] * 3)
    runs = [(loss(0.08),)] * 3
    memory = fold(PRICED_POLICY, degraded, *runs)
    assert (memory.state, worst_severity(PRICED_POLICY, memory.streaks)) == (State.WARNING, Severity.CRITICAL)
    assert fold(PRICED_POLICY, degraded, *runs, is_scored=False).state is State.DEGRADED
    assert fold(replace(PRICED_POLICY, recovery=Recovery.CALM), degraded, *runs).state is State.DEGRADED
    errors = Reading(Signal.MODEL_ERROR_RATE, None, Evidence.BAD, Level.SEVERE, 0.4, 0.0, 0.05, 0.25, 200)
    assert fold(PRICED_POLICY, degraded, *[(loss(0.08), errors)] * 9).state is State.DEGRADED


def test_an_unpriced_policy_folds_as_before() -> None:
    """A policy of the last release has neither prices nor counters: every CRITICAL bypasses the model."""
    assert fold(POLICY, AFTER_RUN, *[(loss(0.08),)] * 3).state is State.DEGRADED


@pytest.mark.parametrize("version", [1, 2])
def test_older_rules_know_one_exit_and_no_counters(version: int) -> None:
    """A run of earlier rules is folded as it was decided."""
    memory = replace(DEGRADED, calm_runs=0, streaks={KEY: Streak(3, 3)})
    run = {"at": LATER, "model_version": "1", "baseline_id": "b"}
    for _ in range(9):
        memory = STEPS[version](POLICY, memory, (MODERATE,), Evidence.BAD, **run)
    assert memory.state is State.DEGRADED
    assert (memory.runs_without_severe, memory.runs_with_advantage, memory.runs_without_advantage) == (0, 0, 0)
    assert memory.incident_severity is Severity.NORMAL


def test_the_incidents_severity_is_the_highest_so_far() -> None:
    """It is CRITICAL until the state is NORMAL again."""
    warning = fold(POLICY, AFTER_RUN, (MODERATE,), (MODERATE,))
    assert warning.incident_severity is Severity.WARNING
    memory = fold(POLICY, warning, *[(SEVERE,)] * 3, *[(MODERATE,)] * 3)
    assert (memory.state, memory.incident_severity) == (State.WARNING, Severity.CRITICAL)
    assert fold(POLICY, memory, (CALM,), (CALM,)).incident_severity is Severity.NORMAL
