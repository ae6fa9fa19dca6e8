"""Slots are used where they foretell held-out rows; a window is compared with its own hours."""

from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
import pytest

from stillsafe.core.baseline import Baseline
from tests.monitoring.hours import MONDAY, Traffic, deviations, hourly_baseline, readings_of

TRAFFIC = Traffic()


@cache
def two_weeks() -> Baseline:
    """The baseline of two weeks, 40 rows an hour."""
    return hourly_baseline(TRAFFIC.rows(MONDAY, 14, 40, 1))


@pytest.mark.parametrize("day", [14, 19])
@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_a_healthy_hour_is_calm(day: int, hour: int) -> None:
    """Rows of one hour, on a workday or a weekend, deviate from the whole period and not from their own hour."""
    rows = TRAFFIC.rows(MONDAY + timedelta(days=day, hours=hour), 1 / 24, 300, day * 24 + hour)
    assert deviations(rows, two_weeks()) == set()


def test_without_slots_healthy_hours_deviate() -> None:
    """The same rows against the whole period are what slots are for."""
    whole = replace(two_weeks(), slots=None, clock={})
    rows = TRAFFIC.rows(MONDAY + timedelta(days=14, hours=6), 1 / 24, 300, 5)
    assert "distribution_change:size" in deviations(rows, whole)


def test_night_rows_at_day_deviate() -> None:
    """Rows that would be healthy twelve hours later are not healthy now: a fault that turns day into night shows."""
    night = TRAFFIC.rows(MONDAY + timedelta(days=14, hours=18), 1 / 24, 300, 6)
    rows = replace(night, times=night.times - 12 * 3_600_000_000)
    keys = deviations(rows, two_weeks())
    assert {"distribution_change:size", "clock_contradiction_rate:hour"} <= keys


def test_a_stale_hour_contradicts_the_clock() -> None:
    """Rows are healthy but for their hour, which stands still."""
    rows = TRAFFIC.rows(MONDAY + timedelta(days=14, hours=10), 1 / 24, 300, 7)
    stale = replace(rows, numbers={**rows.numbers, "hour": np.full(len(rows), 3.0)})
    readings = readings_of(stale, two_weeks())
    assert deviations(stale, two_weeks()) == {"clock_contradiction_rate:hour"}
    assert readings["clock_contradiction_rate:hour"].value == 1.0


def test_a_permuted_column_breaks_its_relation_at_any_hour() -> None:
    """The relation of size and cost beyond the hour is known, although the hour moves both."""
    rows = TRAFFIC.rows(MONDAY + timedelta(days=14, hours=6), 1 / 24, 300, 8)
    order = np.random.default_rng(1).permutation(len(rows))
    broken_rows = replace(rows, numbers={**rows.numbers, "cost": rows.numbers["cost"][order]})
    assert {"broken_relation_rate:cost", "broken_relation_rate:size"} & deviations(broken_rows, two_weeks())


def test_where_hours_do_not_matter_the_gate_stays_shut() -> None:
    """Rows that do not depend on the hour get no slots, so their levels are as without time."""
    baseline = hourly_baseline(Traffic(strength=0.0).rows(MONDAY, 14, 40, 2))
    assert baseline.slots is not None
    assert baseline.slots.names == ()
    assert baseline.clock.keys() == {"hour", "weekday"}


def test_shuffled_times_open_no_slots() -> None:
    """Times that have nothing to do with their rows foretell nothing, and determine no feature."""
    rows = TRAFFIC.rows(MONDAY, 14, 40, 3)
    times = np.random.default_rng(4).permutation(rows.times)
    order = np.argsort(times, kind="stable")
    shuffled_rows = replace(rows[order], times=times[order])
    baseline = hourly_baseline(shuffled_rows)
    assert baseline.slots is not None
    assert (baseline.slots.names, baseline.clock) == ((), {})


def test_an_hour_that_the_period_lacks_is_compared_with_nothing() -> None:
    """A period of workdays does not know a weekend: distributions are not judged there, damage is."""
    baseline = hourly_baseline(TRAFFIC.rows(MONDAY, 5, 80, 1))
    rows = TRAFFIC.rows(MONDAY + timedelta(days=5, hours=6), 1 / 24, 300, 9)
    assert deviations(rows, baseline) == set()
    lost = replace(rows, numbers={**rows.numbers, "size": np.full(len(rows), np.nan)})
    assert "missing_rate:size" in deviations(lost, baseline)


def test_one_day_knows_its_hours() -> None:
    """After a single day the hours of any other workday are known."""
    baseline = hourly_baseline(TRAFFIC.rows(MONDAY, 1, 300, 1))
    assert baseline.slots is not None
    assert baseline.slots.names == tuple(f"day-{hour:02d}" for hour in range(24))
    for hour in (0, 6, 12, 18):
        rows = TRAFFIC.rows(MONDAY + timedelta(days=1, hours=hour), 1 / 24, 300, 20 + hour)
        assert deviations(rows, baseline) == set()


def test_local_hours_follow_daylight_saving_time() -> None:
    """Rows that depend on Berlin's hours are calm on both sides of the change of its clocks."""
    berlin = Traffic("Europe/Berlin")
    baseline = hourly_baseline(berlin.rows(MONDAY, 21, 30, 1), "Europe/Berlin")
    for day in (26, 28):
        rows = berlin.rows(MONDAY + timedelta(days=day, hours=6), 1 / 24, 300, day)
        assert deviations(rows, baseline) == set()


def test_the_counts_are_the_same_whatever_the_order_of_the_rows() -> None:
    """Rows come from a log in the order of their ids, which need not be that of their times."""
    rows = TRAFFIC.rows(MONDAY, 7, 20, 1)
    order = np.random.default_rng(5).permutation(len(rows))
    one, other = (hourly_baseline(each).slots for each in (rows, replace(rows[order], times=rows.times[order])))
    assert one is not None
    assert other is not None
    assert (one.names, one.counts, one.confidences) == (other.names, other.counts, other.confidences)
