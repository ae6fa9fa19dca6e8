"""A month, a quarter, a year or a week is known by how its values are written, whatever the column is called."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from stillsafe.core.evidence.slot_table import ClockUnit
from stillsafe.monitoring.calendar_forms import calendar_unit, has_calendar_form
from stillsafe.monitoring.columns import DictionaryColumn
from stillsafe.monitoring.local_time import LocalTimes, local_times

MICROS = 10**6


def times_of(start: datetime, days: int) -> LocalTimes:
    """Forty requests a day."""
    first = int(start.timestamp())
    return local_times(np.arange(first, first + days * 86_400, 2_160) * MICROS, "UTC")


def texts_of(local: LocalTimes, text_of: Callable[[datetime], object]) -> DictionaryColumn:
    """A column that renders each row's time."""
    quarters = [text_of(quarter) for quarter in local.quarters]
    return DictionaryColumn.of([quarters[position] for position in local.positions.tolist()])


MARCH, OCTOBER = times_of(datetime(2026, 3, 1, tzinfo=UTC), 28), times_of(datetime(2025, 10, 2, tzinfo=UTC), 28)
RETURNING = ("%m", "%B", "%b", "%b.", "M%m", "{month}", "Q{quarter}", "{quarter}Q", "H{half}", "%A", "%a")
PASSING = (
    *("%Y-%m", "%Y%m", "%Y/%m", "%m/%Y", "%m.%Y", "%b %Y", "%B %Y", "%b-%y", "%y-%m", "%Y-M%m", "%Y", "FY%Y"),
    *("%Y-Q{quarter}", "Q{quarter} %Y", "Q{quarter}/%y", "%G-W%V", "%d", "%V", "%j"),
)


def rendering(form: str) -> Callable[[datetime], str]:
    """A form of `strftime` with the parts that it lacks."""
    return lambda at: at.strftime(form).format(month=at.month, quarter=(at.month + 2) // 3, half=(at.month + 5) // 6)


@pytest.mark.parametrize("local", [MARCH, OCTOBER], ids=["march", "october"])
@pytest.mark.parametrize("form", [*RETURNING, *PASSING])
def test_every_rendering_of_a_date_is_a_clock(local: LocalTimes, form: str) -> None:
    """In a sample of one month too, where months, quarters and years have a single value."""
    unit = calendar_unit(texts_of(local, rendering(form)), local)
    weekdays = {"%A": ClockUnit.WEEKDAY, "%a": ClockUnit.WEEKDAY}
    assert unit is weekdays.get(form, ClockUnit.MONTH if form in RETURNING else ClockUnit.DATE)


def test_numbers_months_of_other_languages_and_of_another_time_zone() -> None:
    """A number has no separator; a column may be a day ahead of the service's time zone."""
    numbers = np.full(len(MARCH.positions), 202603.0)
    assert calendar_unit(DictionaryColumn.of_codes(numbers), MARCH) is ClockUnit.DATE
    assert calendar_unit(texts_of(MARCH, lambda _: "März"), MARCH) is ClockUnit.MONTH
    ahead = texts_of(MARCH, lambda at: (at - timedelta(hours=9)).strftime("%Y-%m"))
    assert len(ahead.counts()) == 2
    assert calendar_unit(ahead, MARCH) is ClockUnit.DATE
    time_of_day = texts_of(MARCH, lambda at: (at + timedelta(hours=2)).strftime("%H:%M"))
    assert calendar_unit(time_of_day, MARCH) is ClockUnit.HALF_HOUR


@pytest.mark.parametrize("value", ["2026-02", "April", "04", "Q2", "2025", "north", "7", "1", "0.3", "-3"])
def test_another_value_than_the_date_is_no_clock(value: str) -> None:
    """A constant that is not the rows' month, year or quarter, and a flag that is always set, stay as they were."""
    assert calendar_unit(texts_of(MARCH, lambda _: value), MARCH) is None


def test_one_row_of_another_month_is_enough_against_it() -> None:
    """In a month that stands still, or with a mistake, the column is judged as before."""
    last = MARCH.positions.max()
    texts = [("2026-03", "2026-01")[int(position == last)] for position in MARCH.positions.tolist()]
    assert calendar_unit(DictionaryColumn.of(texts), MARCH) is None
    january = times_of(datetime(2026, 1, 1, tzinfo=UTC), 28)
    assert calendar_unit(texts_of(january, lambda _: "1"), january) is None


@pytest.mark.parametrize(
    ("values", "is_calendar"),
    [
        (["2026-03"], True),
        (["2026-02", "2026-03"], True),
        (["202603"], True),
        (["03/2026"], True),
        (["March"], True),
        (["Mar 2026"], True),
        (["Q1"], True),
        (["2026-Q1", "2026-Q2"], True),
        (["spring"], True),
        (["2026-01", "2026-09"], False),
        (["Q1", "Q2", "Q3", "Q4"], False),
        (["3"], False),
        (["2026"], False),
        (["201350"], False),
        (["north", "south"], False),
        ([], False),
    ],
)
def test_without_times_only_what_can_be_nothing_else(values: list[str], *, is_calendar: bool) -> None:
    """A year and month, the name of one, a quarter; no plain number, no code, no scale of four."""
    assert has_calendar_form(DictionaryColumn.of(values)) is is_calendar
