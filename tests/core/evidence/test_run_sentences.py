"""A run in words: what was concluded, and what follows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from stillsafe.core.evidence.label_streak import LabelStreak
from stillsafe.core.evidence.run_sentences import (
    detection_reason,
    inheritance_reason,
    progress,
    resolution_reason,
    uneventful_reason,
)
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Memory, Severity, State, Streak
from stillsafe.core.window import Tally, Window

POLICY = Policy()
AT = datetime(2026, 3, 2, 10, 20, tzinfo=UTC)
CALM = Reading(Signal.MISSING_RATE, "temp", Evidence.OK, Level.NONE, 0.0, 0.0, 0.05, 0.25, 200)
BAD = replace(CALM, evidence=Evidence.BAD, level=Level.SEVERE, value=0.4)
DEGRADED = Memory(State.DEGRADED, AT, {BAD.key: Streak(4, 3)}, model_version="old")


def window_of(total: int, fresh: int, *, clock_jump: bool = False) -> Window:
    """A window with so many predictions, some of them new."""
    window = Window(AT, AT + timedelta(minutes=15), "1", Tally(prediction_count=total), Tally(prediction_count=fresh))
    return replace(window, clock_jump=clock_jump)


def test_an_inconclusive_run_says_what_it_lacks() -> None:
    """Too few rows, no baseline, a clock that jumped, or confidences that are no numbers: each in its words."""
    few = uneventful_reason(POLICY, window_of(30, 10), (CALM,), Evidence.INSUFFICIENT)
    assert few == ("Inconclusive: 30 predictions in the window (at least 50 are needed), 10 of them new (at least 25).")
    jump = uneventful_reason(POLICY, window_of(30, 10, clock_jump=True), (CALM,), Evidence.INSUFFICIENT)
    assert "the clock moved on by more than a day" in jump
    assert "not all finite" in uneventful_reason(POLICY, window_of(60, 60), (CALM,), Evidence.INSUFFICIENT)
    assert "has no active baseline" in uneventful_reason(POLICY, window_of(60, 60), (), Evidence.INSUFFICIENT)


def test_a_calm_run_says_what_it_judged() -> None:
    """The number of new predictions, and that no signal exceeds its limits."""
    words = uneventful_reason(POLICY, window_of(80, 60), (CALM,), Evidence.OK)
    assert words == "Calm: 60 new predictions, every signal within its limits."


def test_progress_counts_the_runs_that_are_left() -> None:
    """Nothing in NORMAL; elsewhere what ends the state and what escalates it, with the runs so far."""
    assert progress(POLICY, Memory(), "reason") == ""
    warning = progress(POLICY, Memory(State.WARNING, AT, {BAD.key: Streak(2, 2)}, calm_runs=1), "reason.")
    assert warning == (
        "reason. WARNING ends after 2 consecutive calm runs (1 so far). "
        "It becomes DEGRADED after 3 consecutive severe runs of one signal (2 so far)."
    )
    assert progress(POLICY, DEGRADED, "").startswith("DEGRADED ends after 3 consecutive calm runs (0 so far).")


def test_an_incident_says_after_how_many_runs_it_came_and_went() -> None:
    """Severe runs make it CRITICAL, deviating ones WARNING; a recovery counts its calm runs."""
    critical = detection_reason(DEGRADED, Severity.CRITICAL, (BAD,), None)
    assert critical.startswith("CRITICAL after 3 consecutive severe runs. temp is missing in 40.0%")
    warning = detection_reason(DEGRADED, Severity.WARNING, (BAD,), None)
    assert warning.startswith("WARNING after 4 consecutive deviating runs.")
    since = "DEGRADED since 2026-03-02T10:20:00Z."
    assert resolution_reason(DEGRADED, 1) == f"Recovered after 1 consecutive calm run. The state had been {since}"
    assert resolution_reason(replace(DEGRADED, since=None), 3) == "Recovered after 3 consecutive calm runs."
    assert inheritance_reason(DEGRADED) == f"Inherited from version old, which has been {since}"


def test_a_calm_run_names_its_changes() -> None:
    """What is unusual without being an alarm is said, so that `calm` never hides it."""
    change = Reading(
        Signal.DISTRIBUTION_CHANGE, "temp", Evidence.OK, Level.NONE, 0.5, 0.05, 0.3, None, 500, is_change=True
    )
    text = uneventful_reason(POLICY, window_of(80, 60), (change,), Evidence.OK)
    assert "no alarm" in text
    assert text.endswith("Unusual, but of a size that costs less than what matters: distribution_change:temp.")


def test_a_state_by_labels_says_what_ends_it() -> None:
    """Labelled runs of newer rows, or an operator; and what would make it DEGRADED."""
    labels = LabelStreak("DEGRADED", calm=1, rows_from=AT)
    text = progress(POLICY, replace(DEGRADED, labels=labels), "Calm.")
    assert text == (
        "Calm. Labels made it DEGRADED: it ends after 3 consecutive labelled runs without a severe loss of rows from "
        "2026-03-02T10:20:00Z on (1 so far). `stillsafe release` ends it too."
    )
    warning = replace(DEGRADED, state=State.WARNING, labels=LabelStreak("WARNING", severe=2, deviating=2))
    assert progress(POLICY, warning, "").endswith(
        "It becomes DEGRADED after 3 consecutive severe labelled runs (2 so far), unless the labels show the fallback "
        "no better."
    )
    others = replace(DEGRADED, labels=replace(labels, others="DEGRADED"))
    assert "consecutive calm runs" in progress(POLICY, others, "")


def test_an_incident_by_labels_counts_labelled_runs() -> None:
    """Both when it comes and when it goes."""
    loss = replace(BAD, signal=Signal.REALISED_LOSS, feature=None)
    memory = replace(DEGRADED, streaks={loss.key: Streak(3, 3)}, labels=LabelStreak("DEGRADED", calm=2))
    assert detection_reason(memory, Severity.CRITICAL, (loss,), None).startswith(
        "CRITICAL after 3 consecutive severe labelled runs. By the labels of 200 predictions"
    )
    assert resolution_reason(memory, 0).startswith("Recovered after 3 consecutive labelled runs without a loss.")
