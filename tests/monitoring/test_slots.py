"""A period counted by slot: every row once, row_count where hours are thin, nothing of fewer rows than `min_count`."""

from datetime import timedelta

import numpy as np

from stillsafe.core.evidence.slot_table import SlotTable
from stillsafe.monitoring.slots import FEWEST_POOLED_ROWS, count_slots, period_clock, period_of
from tests.monitoring.hours import MONDAY, Traffic, hourly_baseline


def table_of(days: float, per_hour: int, min_count: int = 1, seed: int = 1) -> SlotTable:
    """The slot table of made-up traffic from a Monday on."""
    rows = Traffic().rows(MONDAY, days, per_hour, seed)
    period = period_of(rows, hourly_baseline(rows, min_count=min_count), "UTC")
    return count_slots(period, np.ones(len(rows), np.bool_))


def test_every_row_is_counted_in_its_hour() -> None:
    """Two weeks: ten workdays and four days of weekends, in 48 slots; each feature's bins add up to the rows."""
    table = table_of(14, 20)
    assert len(table.names) == 48
    assert dict(zip(table.names, table.rows, strict=True))["workday-07"] == 200
    assert dict(zip(table.names, table.rows, strict=True))["weekend-07"] == 80
    parts = len(table.features) + len(table.outputs)
    assert all(sum(counts) == parts * rows for counts, rows in zip(table.counts, table.pooled_rows, strict=True))


def test_thin_hours_are_pooled_with_their_neighbours() -> None:
    """A few rows an hour: hours of the same kind of day join until enough rows stand behind each."""
    table = table_of(7, 2)
    assert sum(table.rows) == 7 * 24 * 2
    assert all(row_count >= own for own, row_count in zip(table.rows, table.pooled_rows, strict=True))
    workdays = [row_count for name, row_count in zip(table.names, table.pooled_rows, strict=True) if name[:4] == "work"]
    assert min(workdays) >= min(FEWEST_POOLED_ROWS, 5 * 2 * 7)


def test_an_hour_without_rows_is_no_slot() -> None:
    """A service that sleeps at night does not know its nights."""
    rows = Traffic().rows(MONDAY + timedelta(hours=8), 10, 60, 1)
    is_day = np.isin(rows.numbers["hour"], range(8, 20))
    period = period_of(rows[is_day], hourly_baseline(rows[is_day]), "UTC")
    names = count_slots(period, np.ones(int(is_day.sum()), np.bool_)).names
    assert {name.partition("-")[2] for name in names} == {f"{hour:02d}" for hour in range(8, 20)}


def test_no_count_of_fewer_rows_is_shown() -> None:
    """With `min_count` 5 no bin of a slot counts one to four rows, and no number of so few rows is listed."""
    table = table_of(7, 6, min_count=5)
    assert not {count for counts in table.counts for count in counts} & {1, 2, 3, 4}
    assert {count for counts in table_of(7, 6).counts for count in counts} & {1, 2, 3, 4}
    assert not [numbers for slots in table.frequent.values() for slot in slots for numbers in slot if numbers[1] < 5]


def test_one_day_has_one_kind_of_day() -> None:
    """A period of two days does not distinguish workdays from weekends; one of three does."""
    assert {name.partition("-")[0] for name in table_of(2, 20).names} == {"day"}
    assert {name.partition("-")[0] for name in table_of(3, 20).names} == {"workday"}


def test_the_clock_of_a_period() -> None:
    """With times the features that these determine; without, those that look like a clock."""
    rows = Traffic().rows(MONDAY, 14, 20, 1)
    baseline = hourly_baseline(rows)
    assert period_clock(rows, baseline, "UTC") == baseline.clock
    assert {clock.unit.value for clock in period_clock(rows, baseline, None).values()} == {"unknown"}
