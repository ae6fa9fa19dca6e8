"""The table of readings, and which signals are charted."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.impact_part import ImpactKind, ImpactPart
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.dashboard.deviations import MOST_EXAMPLES, deviating_keys, reading_rows, worst_first
from stillsafe.dashboard.snapshot import take_snapshot

from .story import begin, faulty_tally, tally

READING = Reading(Signal.MISSING_RATE, "age", Evidence.OK, Level.NONE, 0.1, 0.0, 0.05, 0.25, 100)


@given(st.permutations(range(4)))
def test_the_worst_reading_comes_first(order: list[int]) -> None:
    """Severe, moderate by its distance, calm, and too little data last, in any order."""
    readings = (
        replace(READING, level=Level.SEVERE, evidence=Evidence.BAD),
        replace(READING, level=Level.MODERATE, evidence=Evidence.BAD, value=0.24),
        replace(READING, level=Level.MODERATE, evidence=Evidence.BAD, value=0.06),
        replace(READING, evidence=Evidence.INSUFFICIENT, value=None),
    )
    assert worst_first(tuple(readings[i] for i in order)) == list(readings)


def test_rows_are_text_in_the_unit_of_the_signal(tmp_path: Path) -> None:
    """A row has the level, the signal's label, the feature, its value, its limits and its streak."""
    story = begin(tmp_path)
    story.runs(2, faulty_tally())
    row = reading_rows(take_snapshot(story.engine, story.settings, story.now))[0]
    assert (row.level, row.signal, row.feature, row.value) == ("SEVERE", "Missing values", "dep_delay", "97.0%")
    assert (row.limits, row.runs, row.samples) == ("moderate > 7.0%, severe > 27.0%", "2 (2 severe)", "600")


def test_a_change_without_alarm_comes_before_what_is_calm(tmp_path: Path) -> None:
    """A change that may cost too little to matter is shown as one, after all that deviates."""
    change = replace(READING, feature="x", is_change=True)
    order = worst_first((READING, change, replace(READING, level=Level.MODERATE, evidence=Evidence.BAD)))
    assert [reading.is_change for reading in order] == [False, True, False]
    story = begin(tmp_path)
    story.runs(2, faulty_tally())
    snapshot = take_snapshot(story.engine, story.settings, story.now)
    last_run = snapshot.runs[-1]
    loss = Reading(Signal.ESTIMATED_ACCURACY_LOSS, None, Evidence.BAD, Level.SEVERE, 0.15, 0.0, 0.02, 0.0375, 300)
    loss = replace(loss, parts=(ImpactPart(ImpactKind.DAMAGE, "age", 0.84, 0.15),))
    runs = (*snapshot.runs[:-1], replace(last_run, readings=(loss, change)))
    rows = reading_rows(replace(snapshot, recent=runs))
    assert [row.level for row in rows] == ["SEVERE", "CHANGE"]
    assert rows[0].parts == ("15.0 points by damage to age on 84% of the rows",)


def test_unseen_categories_have_examples(tmp_path: Path) -> None:
    """A row lists the most frequent unseen categories with their counts."""
    story = begin(tmp_path)
    story.run(faulty_tally(unseen={"ZZ": 50, "YY": 150, "XX": 20, "WW": 10}))
    rows = reading_rows(take_snapshot(story.engine, story.settings, story.now))
    (row,) = [row for row in rows if row.signal == "Unseen categories"]
    assert row.examples == ("YY × 150", "ZZ × 50", "XX × 20")
    assert len(row.examples) == MOST_EXAMPLES


def test_signals_that_deviate_now_are_charted_first(tmp_path: Path) -> None:
    """Signals of the newest run come before earlier ones; calm signals and the confidence are left out."""
    story = begin(tmp_path)
    story.run(tally(missing={"distance": 0.9}))
    story.runs(2, faulty_tally())
    keys = deviating_keys(take_snapshot(story.engine, story.settings, story.now).runs)
    assert keys == ["missing_rate:dep_delay", "missing_rate:wind_speed", "missing_rate:distance"]


def test_without_readings_there_is_no_row(tmp_path: Path) -> None:
    """An unwatched service has no reading to show."""
    story = begin(tmp_path, watched=False)
    story.run(tally())
    assert reading_rows(take_snapshot(story.engine, story.settings, story.now)) == []
