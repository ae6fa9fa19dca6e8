"""Which features are clocks: recognised by their values against the times, and by name only where these cannot show."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from stillsafe.core.baseline import BaselineSource
from stillsafe.core.evidence.slot_table import ClockFeature, ClockUnit
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.monitoring.baseline import BaselineOrigin, summarize
from stillsafe.monitoring.clock_features import name_unit
from stillsafe.monitoring.columns import Columns, DictionaryColumn
from stillsafe.monitoring.disclosure import Disclosure
from stillsafe.monitoring.local_time import local_times
from tests.monitoring.hours import MONDAY, Traffic
from tests.monitoring.log_rows import AT

DAY = 86_400_000_000


def clock_of(
    name: str, values: NDArray[np.float64] | list[str], rows: Columns, timezone: str | None = "UTC"
) -> ClockFeature | None:
    """What is found of one feature with these values."""
    is_text = isinstance(values, list)
    schema = Schema((FeatureSpec(name, FeatureType.CATEGORY if is_text else FeatureType.NUMERIC, required=False),))
    texts = {name: DictionaryColumn.of(values)} if isinstance(values, list) else {}
    numbers = {} if isinstance(values, list) else {name: np.asarray(values, dtype=np.float64)}
    columns = replace(rows, numbers=numbers, categories=texts)
    origin = BaselineOrigin("b", "1", AT, BaselineSource.SPAN)
    return summarize(columns, schema, origin, disclosure=Disclosure(5, "s"), timezone=timezone).clock.get(name)


def rows_of(days: float, start: datetime = MONDAY) -> Columns:
    """Rows whose own values do not matter."""
    return Traffic().rows(start, days, 20, 1)


def parts(rows: Columns) -> dict[str, NDArray[np.float64]]:
    """Hour, minute, weekday, month and day of the month of each row."""
    local = local_times(rows.times, "UTC")
    quarters = [local.quarters[position] for position in local.positions.tolist()]
    return {
        "hour": np.array([quarter.hour for quarter in quarters], float),
        "half": np.array([quarter.hour * 2 + quarter.minute // 30 for quarter in quarters], float),
        "weekday": np.array([quarter.weekday() for quarter in quarters], float),
        "month": np.array([quarter.month for quarter in quarters], float),
        "day": np.array([quarter.day for quarter in quarters], float),
    }


def test_hours_in_any_form_are_found_without_their_name() -> None:
    """A number, its sine, a text, a half hour, a part of the day."""
    rows = rows_of(14)
    hour = parts(rows)["hour"]
    clock_feature = {
        "number": clock_of("a", hour, rows),
        "sine": clock_of("a", np.sin(2 * np.pi * hour / 24), rows),
        "text": clock_of("a", [f"{int(each):02d}h" for each in hour], rows),
        "half": clock_of("a", parts(rows)["half"], rows),
        "part": clock_of("a", ["night" if each < 6 else "day" for each in hour], rows),
    }
    units = {name: None if clock is None else clock.unit for name, clock in clock_feature.items()}
    assert units == {**dict.fromkeys(clock_feature, ClockUnit.HOUR), "half": ClockUnit.HALF_HOUR}


def test_weekdays_months_and_kinds_of_day() -> None:
    """Over three weeks across a month's end, without names."""
    rows = rows_of(21, MONDAY + timedelta(days=14))
    clock = parts(rows)
    is_peak = (clock["weekday"] < 5) & (clock["hour"] >= 7) & (clock["hour"] < 10)
    values = {
        ClockUnit.WEEKDAY: clock["weekday"],
        ClockUnit.MONTH: clock["month"],
        ClockUnit.SLOT: is_peak.astype(float),
    }
    for unit, column in values.items():
        clock_feature = clock_of("a", column, rows)
        assert clock_feature is not None
        assert clock_feature.unit is unit


def test_features_of_the_world_are_no_clock() -> None:
    """A number with a daily wave, a category that varies by hour, and noise are evidence as before."""
    rows = rows_of(14)
    wave = np.sin(2 * np.pi * parts(rows)["hour"] / 24)
    draw = np.random.default_rng(1)
    assert clock_of("temperature", 10 + 5 * wave + draw.normal(0, 3, len(rows)), rows) is None
    assert clock_of("town", ["n" if each else "s" for each in draw.random(len(rows)) < 0.5 + 0.4 * wave], rows) is None
    assert clock_of("hour", draw.integers(0, 24, len(rows)).astype(float), rows) is None


@pytest.mark.parametrize("name", ["month", "season", "is_weekend", "holiday", "year"])
def test_a_clock_that_never_moved_is_known_by_its_name(name: str) -> None:
    """In a sample of some workdays of one month these are constant; the next month is no damage."""
    rows = rows_of(4)
    clock_feature = clock_of(name, np.full(len(rows), 3.0), rows)
    assert clock_feature is not None
    assert clock_of("floor", np.full(len(rows), 4.0), rows) is None


def test_a_month_that_never_moved_is_known_by_its_values() -> None:
    """Whatever its name, as text and as number, with times and without: the next month is no damage."""
    rows = rows_of(20)
    for values in (["2026-03"] * len(rows), ["March"] * len(rows), np.full(len(rows), 202603.0)):
        with_times, without = clock_of("p", values, rows), clock_of("p", values, rows, timezone=None)
        assert with_times is not None
        assert with_times.unit in (ClockUnit.MONTH, ClockUnit.DATE)
        assert without == ClockFeature(ClockUnit.UNKNOWN)
    assert clock_of("month", np.full(len(rows), 3.0), rows, timezone=None) == ClockFeature(ClockUnit.UNKNOWN)
    assert clock_of("year", np.full(len(rows), 2026.0), rows, timezone=None) == ClockFeature(ClockUnit.UNKNOWN)


def test_one_value_a_day_in_a_short_sample() -> None:
    """Within some days whatever changes once a day may be a clock, so other days are not judged."""
    rows = rows_of(5)
    rate = np.array([0.3, 0.7, 0.1, 0.9, 0.5])[parts(rows)["weekday"].astype(int)]
    clock_feature = clock_of("rate", rate, rows)
    assert clock_feature is not None
    assert clock_feature.unit is ClockUnit.DATE
    weeks = rows_of(21)
    daily = np.random.default_rng(2).normal(size=40)[parts(weeks)["day"].astype(int)]
    assert clock_of("rate", daily, weeks) is None


@pytest.mark.parametrize("days", [3, 6, 10, 13])
def test_what_hour_and_kind_of_day_tell_in_a_short_sample(days: float) -> None:
    """A sample too short to know weekdays still finds what the hour together with the kind of day determines."""
    rows = rows_of(days, MONDAY + timedelta(days=4))
    clock = parts(rows)
    cell = np.where(clock["weekday"] < 5, clock["hour"], (clock["hour"] * 7) % 24)
    feature = clock_of("a", cell, rows)
    assert feature is not None
    assert feature.unit is ClockUnit.SLOT


def test_without_times_name_and_values_count() -> None:
    """`hour` from 0 to 23 counts as a clock; `hour` of 1 to 500 and `size` from 0 to 23 do not."""
    rows = rows_of(14)
    hour = parts(rows)["hour"]
    clock_feature = clock_of("pickup_hour", hour, rows, timezone=None)
    assert clock_feature == ClockFeature(ClockUnit.UNKNOWN)
    assert clock_of("hours", hour * 20, rows, timezone=None) is None
    assert clock_of("size", hour, rows, timezone=None) is None


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("hour", ClockUnit.HOUR),
        ("pickupHour", ClockUnit.HOUR),
        ("DayOfWeek", ClockUnit.WEEKDAY),
        ("is_weekend", ClockUnit.WEEKDAY),
        ("order_month", ClockUnit.MONTH),
        ("day", ClockUnit.DATE),
        ("days_since_order", None),
        ("monthly_income", None),
        ("amount", None),
    ],
)
def test_the_unit_that_a_name_means(name: str, unit: ClockUnit | None) -> None:
    """Whole words of a name count, in any style of writing."""
    assert name_unit(name) is unit


def test_rare_counts_and_values_are_not_shown() -> None:
    """A value of fewer than `min_count` rows has no column, and a rarer count in a table counts as that."""
    rows = rows_of(14)
    hour = parts(rows)["hour"].copy()
    hour[3] = 77.0
    hour[np.flatnonzero(hour == 5)[0]] = 4.0
    clock_feature = clock_of("hour", hour, rows)
    assert clock_feature is not None
    assert "77" not in clock_feature.values
    counts = {count for row in clock_feature.table.values() for count in row}
    assert not counts & {1, 2, 3, 4}
