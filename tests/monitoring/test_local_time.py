"""Times become slots and units of the clock, in any time zone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from stillsafe.core.evidence.slot_table import ClockUnit, SlotTable
from stillsafe.monitoring.local_time import EPOCH, Micros, cell_of, fresh_slots, local_times, slot_of
from tests.monitoring.hours import MONDAY, Traffic, hourly_baseline


def micros(*times: datetime) -> Micros:
    """Times in microseconds since 1970."""
    return np.array([(time - EPOCH) // timedelta(microseconds=1) for time in times], dtype=np.int64)


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])
def test_local_times_are_those_of_the_zone(timezone: str) -> None:
    """Each row's hour is what `datetime.astimezone` gives, around both changes of the clocks too."""
    from zoneinfo import ZoneInfo

    start = datetime(2026, 3, 28, 12, tzinfo=UTC)
    times = [start + timedelta(minutes=7 * step) for step in range(300)]
    times += [time + timedelta(days=210) for time in times]
    hours = local_times(micros(*times), timezone).cells(ClockUnit.HOUR)
    assert hours.tolist() == [str(time.astimezone(ZoneInfo(timezone)).hour) for time in times]


def test_the_spring_change_skips_an_hour_and_the_autumn_change_repeats_one() -> None:
    """In Berlin 1:59 is followed by 3:00 on 29 March 2026, and 2:59 by 2:00 on 25 October 2026."""
    spring, autumn = datetime(2026, 3, 29, 0, 59, tzinfo=UTC), datetime(2026, 10, 25, 0, 59, tzinfo=UTC)
    times = micros(*(each + timedelta(minutes=step) for each in (spring, autumn) for step in (0, 2)))
    assert local_times(times, "Europe/Berlin").slots().tolist() == [
        *("weekend-01", "weekend-03"),
        *("weekend-02", "weekend-02"),
    ]


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (ClockUnit.HOUR, "13"),
        (ClockUnit.HALF_HOUR, "27"),
        (ClockUnit.SLOT, "workday-13"),
        (ClockUnit.WEEKDAY, "0"),
        (ClockUnit.MONTH, "3"),
        (ClockUnit.DATE, "2026-03-02"),
        (ClockUnit.UNKNOWN, ""),
    ],
)
def test_the_units_of_a_time(unit: ClockUnit, text: str) -> None:
    """Monday, 2 March 2026, half past one in the afternoon."""
    assert cell_of(unit, datetime(2026, 3, 2, 13, 30)) == text


def test_a_slot_is_an_hour_of_a_kind_of_day() -> None:
    """Friday is a workday, Saturday is not."""
    friday = datetime(2026, 3, 6, 23)
    assert [slot_of(friday), slot_of(friday + timedelta(hours=1))] == ["workday-23", "weekend-00"]


def test_slot_counts_are_of_the_fresh_rows() -> None:
    """A window stores the slots of the rows that no run has judged; they add up to them, in order of name."""
    rows = Traffic().rows(MONDAY, 1, 10, 1)
    baseline = hourly_baseline(Traffic().rows(MONDAY, 3, 30, 2))
    rows.fresh[:55] = False
    counts = fresh_slots(rows, baseline)
    assert sum(counts.values()) == 185
    assert counts["workday-05"] == 5
    assert "workday-04" not in counts
    assert all(one < other for one, other in pairwise(counts))


def test_without_times_there_are_no_slots() -> None:
    """A baseline of a sample without times needs no slots, nor has a window without times any."""
    rows = Traffic().rows(MONDAY, 2, 20, 1)
    assert fresh_slots(rows, None) == {}
    assert fresh_slots(rows, hourly_baseline(rows, timezone=None)) == {}
    assert isinstance(hourly_baseline(rows).slots, SlotTable)
