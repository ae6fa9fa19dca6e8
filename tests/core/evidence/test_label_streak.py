"""The streak of labels, one move at a time, and what it makes of the state."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.label_streak import DEGRADED, NORMAL, WARNING, LabelStreak, next_streak, runs_to_leave
from stillsafe.core.evidence.label_tally import Truth
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal, evidence_of, insufficient
from stillsafe.core.state import Memory, State, memory_after_release, step

POLICY = Policy()
START = datetime(2026, 3, 2, 10, tzinfo=UTC)
NO_LABELS = insufficient(Signal.REALISED_LOSS, None, 3)


def reading(level: Level, advantage: float | None = None) -> Reading:
    """A reading of the realised loss."""
    truth = Truth(START, START, 1.0, advantage)
    return Reading(Signal.REALISED_LOSS, None, evidence_of(level), level, 0.1, 0.0, 0.025, 0.05, 400, truth=truth)


OK, MODERATE, SEVERE = (reading(level) for level in Level)


def levels(*readings: Reading | None, streak: LabelStreak | None = None) -> Iterator[str]:
    """The level after each run, one a day."""
    for day, each in enumerate(readings):
        at = START + timedelta(days=day)
        streak = next_streak(POLICY, streak, () if each is None else (each,), at, is_comparable=True)
        yield NORMAL if streak is None else streak.level


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ((None, NO_LABELS, OK), [NORMAL] * 3),
        ((SEVERE, SEVERE, SEVERE), [NORMAL, WARNING, DEGRADED]),
        ((SEVERE, None, SEVERE, NO_LABELS, SEVERE), [NORMAL, NORMAL, WARNING, WARNING, DEGRADED]),
        ((SEVERE, SEVERE, OK, SEVERE, OK, OK), [NORMAL, WARNING, WARNING, WARNING, WARNING, NORMAL]),
        ((MODERATE,) * 5, [NORMAL] + [WARNING] * 4),
        ((SEVERE, SEVERE, MODERATE, SEVERE, SEVERE), [NORMAL] + [WARNING] * 4),
        ((SEVERE,) * 3 + (OK, OK, OK), [NORMAL, WARNING] + [DEGRADED] * 3 + [NORMAL]),
        ((SEVERE,) * 3 + (MODERATE,) * 3, [NORMAL, WARNING] + [DEGRADED] * 3 + [WARNING]),
        ((SEVERE,) * 3 + (OK, SEVERE, OK, OK), [NORMAL, WARNING] + [DEGRADED] * 5),
        ((reading(Level.SEVERE, -0.1),) * 5, [NORMAL] + [WARNING] * 4),
        ((reading(Level.SEVERE, 0.1),) * 3, [NORMAL, WARNING, DEGRADED]),
        (
            (SEVERE,) * 3 + (reading(Level.SEVERE, -0.1),) * 3 + (SEVERE,),
            [NORMAL, WARNING] + [DEGRADED] * 3 + [WARNING] * 2,
        ),
    ],
)
def test_levels(readings: tuple[Reading | None, ...], expected: list[str]) -> None:
    """Labelled runs alone move it, as many as the policy asks for, and the fallback only where it is no worse."""
    assert list(levels(*readings)) == expected


@given(st.lists(st.sampled_from([OK, MODERATE, SEVERE]), max_size=12), st.integers(0, 3))
def test_runs_without_labels_change_nothing(readings: list[Reading], gap: int) -> None:
    """However many lie between labelled ones, and however long that takes."""
    long_readings = [each for one in readings for each in [one, *[None] * gap]]
    assert list(levels(*long_readings))[:: gap + 1] == list(levels(*readings))


def test_counts_start_anew_with_another_baseline() -> None:
    """The level stays: only labels, or an operator, end it."""
    streak = LabelStreak(DEGRADED, severe=5, deviating=5, calm=2)
    other = next_streak(POLICY, streak, (OK,), START, is_comparable=False)
    assert other is not None
    assert (other.level, other.severe, other.calm) == (DEGRADED, 0, 1)
    assert runs_to_leave(POLICY, other) == POLICY.recovery_runs


def runs(memory: Memory, *each: Reading, model_version: str = "1") -> Memory:
    """Runs that read nothing else, a week long_readings."""
    for one in each:
        at = (memory.last_run_at or START) + timedelta(days=7)
        memory = step(
            POLICY, memory, (one,), Evidence.OK, at=at, model_version=model_version, baseline_id=f"b{model_version}"
        )
    return memory


def test_the_state_is_the_worse_of_both() -> None:
    """Calm runs do not end what labels made; labels do not end what everything else made."""
    memory = runs(Memory(), SEVERE, SEVERE, SEVERE)
    assert (memory.state, memory.since) == (State.DEGRADED, START + timedelta(days=21))
    calm = runs(memory, *[NO_LABELS] * 9)
    assert (calm.state, calm.since) == (State.DEGRADED, memory.since)
    assert calm.labels is not None
    assert calm.labels.others == NORMAL
    assert runs(calm, OK, OK, OK).state is State.NORMAL


def test_another_model_inherits_the_state_and_not_the_labels() -> None:
    """Labels of one model say nothing of another: its own calm runs lead out."""
    memory = runs(Memory(), SEVERE, SEVERE, SEVERE)
    other = runs(memory, NO_LABELS, model_version="2")
    assert (other.state, other.labels) == (State.DEGRADED, None)


def test_an_edit_of_the_state_is_no_way_out() -> None:
    """A state that labels and the rest do not explain counts as everything else's."""
    memory = replace(runs(Memory(), OK), state=State.DEGRADED)
    assert runs(memory, OK).state is State.DEGRADED


def test_a_release_ends_what_labels_made_and_nothing_else() -> None:
    """The state in force changes at once, the next run takes note, and old rows are no evidence any more."""
    memory = memory_after_release(runs(Memory(), SEVERE, SEVERE, SEVERE))
    assert (memory.state, memory.effective_state) == (State.DEGRADED, State.WARNING)
    next_memory = runs(memory, NO_LABELS)
    assert next_memory.labels is not None
    assert (next_memory.state, next_memory.labels.rows_from, next_memory.streaks) == (
        State.WARNING,
        next_memory.last_run_at,
        {},
    )
    others = replace(memory, labels=replace(memory.labels or LabelStreak(), others=DEGRADED))
    assert others.effective_state is State.DEGRADED
    assert memory_after_release(runs(Memory(), OK)) == runs(Memory(), OK)
