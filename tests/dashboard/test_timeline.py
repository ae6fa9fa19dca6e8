"""Timelines of runs: states in force, gaps, and the runs that stand for a long time."""

from datetime import datetime, timedelta

from stillsafe.dashboard.timeline import Timeline, representative_ids, timeline_of
from stillsafe.store.read.runs import RunMark

from .story import START

MINUTE = timedelta(minutes=1)


def mark(number: int, state: str | None = "NORMAL", evidence: str = "OK", *, minutes: float | None = None) -> RunMark:
    at = START + MINUTE * (10 * number if minutes is None else minutes)
    return RunMark(number, at, evidence, "NORMAL", state)


def timeline(*marks: RunMark, now: datetime) -> Timeline:
    return timeline_of(marks, now, 10 * MINUTE, 30 * MINUTE)


def test_a_state_lasts_until_the_run_that_changes_it() -> None:
    """Runs that agree are one span, and the last one lasts until now."""
    now = START + 45 * MINUTE
    runs = timeline(mark(1), mark(2), mark(3, "WARNING"), mark(4, "WARNING", "INSUFFICIENT"), now=now)
    assert [(each.state, each.is_inconclusive) for each in runs.states] == [
        ("NORMAL", False),
        ("WARNING", False),
        ("WARNING", True),
    ]
    assert [each.end for each in runs.states] == [START + 30 * MINUTE, START + 40 * MINUTE, now]
    assert (runs.gaps, runs.run_count) == ((), 4)


def test_a_gap_lasts_from_a_run_to_the_next_one() -> None:
    """In it no state is known but for the interval after its first run; a stale monitor's gap lasts until now."""
    now = START + 300 * MINUTE
    runs = timeline(mark(1), mark(2, minutes=200), now=now)
    assert runs.gaps == (
        (START + 10 * MINUTE, START + 200 * MINUTE),
        (START + 200 * MINUTE, now),
    )
    assert [each.end - each.begin for each in runs.states] == [10 * MINUTE, 10 * MINUTE]
    assert runs.is_apart(START, START + 200 * MINUTE)
    assert not runs.is_apart(START + 20 * MINUTE, START + 200 * MINUTE)


def test_without_a_run_there_is_nothing() -> None:
    """Neither a state nor a gap."""
    assert timeline(now=START) == Timeline((), (), 0)


def test_few_runs_stand_for_themselves() -> None:
    """All of the time, and none before it."""
    marks = [mark(number) for number in range(5)]
    assert representative_ids(marks, START, START + 50 * MINUTE, 10) == [1, 2, 3, 4]


def test_of_many_runs_the_worst_of_each_part_stands() -> None:
    """The last run of all is always among them, and a single bad run is never lost."""
    marks = [mark(n) for n in range(1, 1_001)]
    marks[500] = mark(501, "DEGRADED", "BAD")
    marks[700] = mark(701, None, "BAD")
    ids = representative_ids(marks, START, START + 10_000 * MINUTE, 50)
    assert {501, 701, 1_000} <= set(ids)
    assert len(ids) <= 52
    assert ids == sorted(ids)
