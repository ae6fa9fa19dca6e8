"""A clock feature contradicts the clock where healthy rows of that time hardly ever had its value."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from stillsafe.core.evidence.slot_table import ClockFeature, ClockUnit
from stillsafe.core.policy import EVIDENCE
from stillsafe.monitoring.clock_agreement import contradictions
from stillsafe.monitoring.columns import DictionaryColumn
from stillsafe.monitoring.local_time import local_times
from tests.monitoring.hours import MONDAY, Traffic, hourly_baseline, window_of

TRAFFIC = Traffic()
BASELINE = hourly_baseline(TRAFFIC.rows(MONDAY, 14, 30, 1))
LIVE = TRAFFIC.rows(MONDAY + timedelta(days=14, hours=9), 1 / 24, 100, 2)


def test_agreement_is_no_contradiction() -> None:
    """Every value of a healthy hour is known to belong to it."""
    tallies = window_of(LIVE, BASELINE).fresh.features
    assert (tallies["hour"].clock_count, tallies["hour"].contradiction_count) == (100, 0)
    assert (tallies["weekday"].clock_count, tallies["weekday"].contradiction_count) == (100, 0)
    assert (tallies["size"].clock_count, tallies["size"].contradiction_count) == (0, 0)


def test_another_hour_and_a_value_that_no_hour_has_contradict() -> None:
    """A third of the rows has another hour, a third one that does not exist, and one value is missing."""
    hours = LIVE.numbers["hour"].copy()
    hours[:33], hours[33:66], hours[99] = 17, 99, np.nan
    rows = replace(LIVE, numbers={**LIVE.numbers, "hour": hours})
    counts = window_of(rows, BASELINE).fresh.features["hour"]
    assert (counts.clock_count, counts.contradiction_count, counts.missing_count) == (99, 66, 1)


def test_a_text_contradicts_like_a_number() -> None:
    """Monday's rows claim to be Sunday's."""
    days = DictionaryColumn.of(["Sun"] * len(LIVE))
    counts = window_of(replace(LIVE, categories={**LIVE.categories, "weekday": days}), BASELINE).fresh.features
    assert counts["weekday"].contradiction_count == 100


def test_a_time_that_the_period_lacks_is_no_contradiction() -> None:
    """A baseline of workdays does not know a Sunday, so it cannot judge the weekday there."""
    baseline = hourly_baseline(TRAFFIC.rows(MONDAY, 5, 30, 1))
    sunday = TRAFFIC.rows(MONDAY + timedelta(days=6, hours=9), 1 / 24, 100, 3)
    counts = window_of(sunday, baseline).fresh.features
    assert (counts["weekday"].clock_count, counts["weekday"].contradiction_count) == (0, 0)
    assert (counts["hour"].clock_count, counts["hour"].contradiction_count) == (100, 0)


def test_without_times_nothing_is_compared() -> None:
    """Rows without times, and a baseline of a sample without times."""
    no_times = replace(LIVE, times=np.empty(0, np.int64))
    assert window_of(no_times, BASELINE).fresh.features["hour"].clock_count == 0
    timeless_baseline = hourly_baseline(TRAFFIC.rows(MONDAY, 14, 30, 1), timezone=None)
    assert timeless_baseline.clock["hour"].unit is ClockUnit.UNKNOWN
    assert window_of(LIVE, timeless_baseline).fresh.features["hour"].clock_count == 0


def test_a_value_contradicts_below_the_rare_share_of_its_time() -> None:
    """The policy's share of the healthy rows of that time decides: a row fewer contradicts, and just as many agree."""
    total = 10_000
    limit = round(EVIDENCE.clock_rare_share * total)
    counts = (total - 3 * limit, limit - 1, limit, limit + 1)
    clock = ClockFeature(ClockUnit.HOUR, {"9": counts}, ("usual", "too rare", "at the limit", "above it"))
    assert sum(counts) == total
    assert limit > 1
    cells = np.arange(len(counts))
    verdicts = contradictions(clock, local_times(LIVE.times[: len(cells)], "UTC"), cells)
    assert verdicts.tolist() == [0, 1, 0, 0]
