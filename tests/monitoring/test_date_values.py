"""Dates and times of features are read as they were written, and anything else is none."""

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.schema import FeatureSpec, FeatureType, Schema, Value
from stillsafe.monitoring.date_values import date_values, example_date, moved_date, moved_dates, time_of

ISO = FeatureSpec("day", FeatureType.DATE)
EPOCH, WALL_EPOCH = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
FORMATS = ("%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d-%b-%Y", "%Y%m%d")


def number_spec(date_format: str) -> FeatureSpec:
    """A feature whose numbers are times."""
    return FeatureSpec("at", FeatureType.INTEGER, date_format=date_format)


@given(st.datetimes(timezones=ZONES, min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
def test_a_time_with_a_zone_is_its_instant(time: datetime) -> None:
    """An ISO text with an offset is the microsecond that it names, whatever its zone."""
    micros, is_zoned = time_of(ISO, time.isoformat())
    assert is_zoned
    assert micros == (time - EPOCH) / MICROSECOND


@given(st.datetimes())
def test_a_time_without_a_zone_is_what_its_clock_shows(time: datetime) -> None:
    """An ISO text without an offset keeps its clock, with `T` or a space."""
    for separator in "T ":
        micros, is_zoned = time_of(ISO, time.isoformat(separator))
        assert not is_zoned
        assert micros == (time - WALL_EPOCH) / MICROSECOND


@given(st.dates(), st.sampled_from(FORMATS))
def test_another_format_gives_the_day_it_was_written_with(day: object, date_format: str) -> None:
    """Whoever writes a day in a format reads the same day."""
    time = datetime.fromisoformat(f"{day}")
    if time.year < 1000:
        return  # `strftime` writes such years with fewer digits than `strptime` reads
    spec = FeatureSpec("day", FeatureType.DATE, date_format=date_format)
    assert time_of(spec, time.strftime(date_format)) == ((time - WALL_EPOCH) / MICROSECOND, False)
    assert example_date(spec, f"{day}") == time.strftime(date_format)


@given(st.integers(-(10**9), 4 * 10**9))
def test_numbers_are_seconds_or_milliseconds(seconds: int) -> None:
    """The same instant in either unit is the same time in UTC."""
    assert time_of(number_spec("seconds"), seconds) == (seconds * 1e6, True)
    assert time_of(number_spec("milliseconds"), seconds * 1000) == (seconds * 1e6, True)


def test_digits_of_a_day_are_a_day() -> None:
    """20260131 is a day by its digits, and 20261301 is none."""
    spec = number_spec("%Y%m%d")
    assert time_of(spec, 20260131) == time_of(ISO, "2026-01-31") == time_of(spec, 20260131.0)
    assert math.isnan(time_of(spec, 20261301)[0])
    assert math.isnan(time_of(spec, 20260131.5)[0])


@given(
    st.one_of(st.none(), st.text(), st.booleans(), st.floats(), st.integers(), st.lists(st.integers())),
    st.sampled_from(
        (ISO, FeatureSpec("d", FeatureType.DATE, date_format="%d.%m.%Y"), *map(number_spec, ("seconds", "%Y%m%d")))
    ),
)
def test_anything_has_a_time_or_none(value: object, spec: FeatureSpec) -> None:
    """Whatever a log holds, reading it does not fail, and what is no date is NaN without a zone."""
    micros, is_zoned = time_of(spec, value)
    assert math.isfinite(micros) or (math.isnan(micros) and not is_zoned)


def test_columns_keep_their_order() -> None:
    """Each row has its own time, equal ones included, and rows can be selected."""
    values = date_values(ISO, ["2026-01-02", None, "2026-01-01T00:00:00Z", "2026-01-02", "soon"])
    assert values.is_zoned.tolist() == [False, False, True, False, False]
    assert np.isnan(values.micros).tolist() == [False, True, False, False, True]
    assert values[np.array([3, 2])].micros.tolist() == [values.micros[0], values.micros[2]]
    assert values.micros[0] - values.micros[2] == pytest.approx(86_400e6)
    assert len(date_values(ISO, ()).micros) == 0


@pytest.mark.parametrize(
    ("spec", "value", "later"),
    [
        (ISO, "2026-01-31", "2026-02-02"),
        (ISO, "2026-01-31 10:00:00", "2026-02-02 10:00:00"),
        (ISO, "2026-01-31T10:00:00Z", "2026-02-02T10:00:00Z"),
        (ISO, "2026-01-31T10:00:00+01:00", "2026-02-02T10:00:00+01:00"),
        (FeatureSpec("d", FeatureType.DATE, date_format="%d.%m.%Y"), "31.01.2026", "02.02.2026"),
        (number_spec("seconds"), 1_700_000_000, 1_700_172_800),
        (number_spec("milliseconds"), 1_700_000_000_000.5, 1_700_172_800_000.5),
        (number_spec("%Y%m%d"), 20260131, 20260202),
        (ISO, "soon", "soon"),
        (ISO, "9999-12-31", "9999-12-31"),
        (ISO, None, None),
    ],
)
def test_a_moved_date_is_written_as_it_was(spec: FeatureSpec, value: Value, later: Value) -> None:
    """A healthy row that is played at another time has the same lags, in the same form."""
    assert moved_date(spec, value, timedelta(days=2)) == later
    micros = int(time_of(ISO, "2026-01-01T00:00Z")[0])
    row = {spec.name: value, "size": 1.0}
    now = datetime(2026, 1, 3, tzinfo=UTC)
    assert moved_dates(Schema((spec,)), row, micros, now) == {spec.name: later, "size": 1.0}


@pytest.mark.parametrize(
    "text", ["20260131", "2026-W05", "20260131T101112", "2026-01-31T10:11:12Z", "2026-01-31 10:11"]
)
def test_every_iso_form_can_be_moved(text: str) -> None:
    """A day stays a day, and a time a time, in some form of ISO 8601."""
    moved_text = moved_date(ISO, text, timedelta(days=2))
    assert isinstance(moved_text, str)
    distance = time_of(ISO, moved_text)[0] - time_of(ISO, text)[0]
    assert distance == timedelta(days=2) / MICROSECOND


@pytest.mark.parametrize("value", [10**400, -(10**400), True, "x", math.inf, math.nan])
def test_no_number_of_a_log_is_an_error(value: Value) -> None:
    """A number that is no date is none, however long it is."""
    for spec in (number_spec("%Y%m%d"), number_spec("seconds")):
        assert len(time_of(spec, value)) == 2
    assert math.isnan(time_of(FeatureSpec("day", FeatureType.DATE, date_format="%d.%d.%Y"), "01.01.2026")[0])
