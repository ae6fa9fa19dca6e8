"""The state machine, one move at a time."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import (
    Hold,
    Memory,
    Severity,
    State,
    Streak,
    calm_runs_needed,
    recovery_runs_needed,
    severity_of,
    step,
    worst,
)

POLICY = Policy()
START = datetime(2026, 3, 2, 10, tzinfo=UTC)
LATER = START + timedelta(minutes=10)
JUDGED = Memory(since=START, last_run_at=START, last_conclusive_at=START, model_version="1", baseline_id="b")


def reading(evidence: Evidence, level: Level = Level.NONE, feature: str | None = "temp") -> Reading:
    """A reading of the missing rate."""
    return Reading(Signal.MISSING_RATE, feature, evidence, level, 0.4, 0.0, 0.05, 0.25, 200)


CALM = reading(Evidence.OK)
MODERATE = reading(Evidence.BAD, Level.MODERATE)
SEVERE = reading(Evidence.BAD, Level.SEVERE)
UNREAD = reading(Evidence.INSUFFICIENT)
KEY = SEVERE.key


def moved(memory: Memory, *readings: Reading, evidence: Evidence | None = None, at: datetime = LATER) -> Memory:
    """One run by the same version and baseline."""
    bad = any(r.evidence is Evidence.BAD for r in readings)
    said = evidence or (Evidence.BAD if bad else Evidence.OK)
    return step(POLICY, memory, readings, said, at=at, model_version="1", baseline_id="b")


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
    assert worst(POLICY, streaks) is severity


@pytest.mark.parametrize(
    ("before", "now", "after"),
    [
        (Streak(1, 1), SEVERE, Streak(2, 2)),
        (Streak(2, 2), MODERATE, Streak(3, 0)),
        (Streak(2, 0), SEVERE, Streak(3, 1)),
        (Streak(2, 2), CALM, None),
    ],
)
def test_a_streak_counts_consecutive_runs(before: Streak, now: Reading, after: Streak | None) -> None:
    """A moderate run between severe ones starts the severe count anew; a calm one ends the streak."""
    assert moved(replace(JUDGED, streaks={KEY: before}), now).streaks.get(KEY) == after


def test_a_signal_that_cannot_be_read_keeps_its_streak() -> None:
    """No evidence neither grows nor heals a streak, whatever the rest of the run says."""
    memory = replace(JUDGED, streaks={KEY: Streak(1, 1)})
    assert moved(memory, UNREAD, reading(Evidence.OK, feature="wind")).streaks == {KEY: Streak(1, 1)}


@pytest.mark.parametrize("state", [State.WARNING, State.DEGRADED])
def test_back_in_normal_no_old_streak_acts(state: State) -> None:
    """A streak of a signal that could not be read through a recovery does not degrade again on old evidence."""
    memory = replace(JUDGED, state=state, streaks={KEY: Streak(9, 9)}, calm_runs=2, incident_id="inc")
    recovered = moved(memory, UNREAD, reading(Evidence.OK, feature="wind"))
    assert recovered.state is State.NORMAL
    again = moved(recovered, UNREAD, reading(Evidence.BAD, Level.MODERATE, "wind"), at=LATER + timedelta(minutes=10))
    assert again.state is State.NORMAL


def test_an_inconclusive_run_heals_nothing() -> None:
    """Even where a single reading of it was calm."""
    memory = replace(JUDGED, streaks={KEY: Streak(1, 1)}, calm_runs=0)
    after = moved(memory, CALM, evidence=Evidence.INSUFFICIENT)
    assert replace(after, last_run_at=START) == memory


@pytest.mark.parametrize(("relapses", "needed"), [(0, 3), (1, 6), (2, 12), (3, 24), (4, 24), (10**9, 24)])
def test_each_relapse_doubles_the_calm_runs(relapses: int, needed: int) -> None:
    """Up to the policy's maximum, and however many there were."""
    memory = Memory(state=State.DEGRADED, relapses=relapses)
    assert recovery_runs_needed(POLICY, memory) == calm_runs_needed(POLICY, memory) == needed


def test_calm_runs_that_end_the_other_states() -> None:
    """Two end WARNING; nothing need end NORMAL."""
    assert calm_runs_needed(POLICY, Memory(state=State.WARNING)) == 2
    assert calm_runs_needed(POLICY, Memory()) == 0


@pytest.mark.parametrize(("runs_since", "relapses"), [(None, 0), (0, 3), (19, 3), (20, 0)])
def test_a_relapse_is_a_degradation_soon_after_a_recovery(runs_since: int | None, relapses: int) -> None:
    """Within twenty conclusive runs it is the same failure; later it is a new one."""
    memory = replace(
        JUDGED, state=State.WARNING, streaks={KEY: Streak(2, 2)}, runs_since_recovery=runs_since, relapses=2
    )
    after = moved(memory, SEVERE)
    assert after.state is State.DEGRADED
    assert (after.relapses, after.runs_since_recovery, after.calm_runs) == (relapses, None, 0)


@pytest.mark.parametrize(("seconds", "streak"), [(1_800, Streak(2, 2)), (1_801, Streak(1, 1))])
def test_a_gap_starts_streaks_anew(seconds: int, streak: Streak) -> None:
    """Runs further apart than the policy's gap are not consecutive."""
    memory = replace(JUDGED, streaks={KEY: Streak(1, 1)})
    assert moved(memory, SEVERE, at=START + timedelta(seconds=seconds)).streaks[KEY] == streak


def test_an_inconclusive_run_is_a_run_all_the_same() -> None:
    """A gap is the monitor's silence, not the traffic's."""
    quiet = moved(replace(JUDGED, streaks={KEY: Streak(1, 1)}), evidence=Evidence.INSUFFICIENT)
    assert moved(quiet, SEVERE, at=START + timedelta(minutes=40)).streaks[KEY] == Streak(2, 2)


@pytest.mark.parametrize(("version", "baseline_id"), [("2", "b"), ("1", "c"), ("1", None)])
def test_another_version_or_baseline_starts_streaks_anew(version: str, baseline_id: str | None) -> None:
    """What another model did is no evidence for or against this one; the state stays."""
    memory = replace(JUDGED, state=State.DEGRADED, streaks={KEY: Streak(2, 2)}, calm_runs=2)
    after = step(POLICY, memory, (CALM,), Evidence.OK, at=LATER, model_version=version, baseline_id=baseline_id)
    assert (after.state, after.calm_runs, after.streaks) == (State.DEGRADED, 1, {})
    assert (after.model_version, after.baseline_id) == (version, baseline_id)


def test_since_tells_when_the_state_was_entered() -> None:
    """It moves with the state and not with the runs."""
    first = moved(Memory(), CALM, at=START)
    assert first.since == START
    assert moved(first, CALM).since == START
    assert moved(replace(JUDGED, streaks={KEY: Streak(1, 1)}), SEVERE).since == LATER


def test_fresh_rows_begin_after_the_last_conclusive_run() -> None:
    """An inconclusive run leaves its rows to the next."""
    assert moved(JUDGED, CALM).last_conclusive_at == LATER
    quiet = moved(JUDGED, evidence=Evidence.INSUFFICIENT)
    assert (quiet.last_run_at, quiet.last_conclusive_at) == (LATER, START)


def test_a_hold_is_degraded_for_everybody() -> None:
    """Whatever the evidence says beneath."""
    hold = Hold("ada", "to be sure", START)
    assert replace(JUDGED, hold=hold).effective_state is State.DEGRADED
    assert JUDGED.effective_state is State.NORMAL
