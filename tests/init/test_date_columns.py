"""Dates are recognised however a sample writes them, and numbers that are none are not."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from stillsafe.core.schema import FeatureSpec, FeatureType
from stillsafe.init.date_columns import (
    common_date_format,
    date_remark,
    number_date_format,
    text_date_formats,
    untimed_sentences,
)

DAYS = [date(2024, 1, 20) + timedelta(days=37 * n) for n in range(40)]


@pytest.mark.parametrize("date_format", ["%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d", "%d.%m.%Y %H:%M", "%d-%b-%Y", "%b %d, %Y"])
def test_texts_in_one_format_are_dates(date_format: str) -> None:
    """The format that fits all values comes first."""
    assert text_date_formats([day.strftime(date_format) for day in DAYS])[0] == date_format


def test_iso_is_no_format_of_its_own() -> None:
    """ISO 8601 needs no format, be there one value or many, with or without a time."""
    assert text_date_formats([day.isoformat() for day in DAYS]) == (None,)
    assert text_date_formats(["2026-01-31T10:00:00Z"]) == (None,)


def test_what_no_value_decides_is_said_and_can_be_stated() -> None:
    """Where days and months cannot be told apart, the owner's order decides, and without it `init` says so."""
    values = [date(2024, 1 + n % 12, 1 + n % 5).strftime("%d/%m/%Y") for n in range(40)]
    assert {"%d/%m/%Y", "%m/%d/%Y"} <= {*text_date_formats(values)}
    assert text_date_formats(values, "month-first")[0] == "%m/%d/%Y"
    assert text_date_formats(values, "%d/%m/%Y") == ("%d/%m/%Y",)
    spec = FeatureSpec("day", FeatureType.DATE, date_format="%d/%m/%Y")
    assert "%m/%d/%Y fits all values too" in date_remark(spec, values)


@pytest.mark.parametrize(
    "values", [["a 1"] * 40, ["12", "13"] * 20, ["31.12.2024", "soon"] * 20, ["31.12.2024"] * 3, ["v1.2.3"] * 40]
)
def test_other_texts_are_no_dates(values: list[str]) -> None:
    """Codes, mixtures and a handful of values are no evidence."""
    assert text_date_formats(values) == ()


@pytest.mark.parametrize(
    ("name", "values", "date_format"),
    [
        ("created_at", [1_700_000_000 + 3_600 * n for n in range(40)], "seconds"),
        ("lastSeen", [1_700_000_000_000.0 + 3.6e6 * n for n in range(40)], "milliseconds"),
        ("signup_time", [1_700_000_000.5 + 3_600 * n for n in range(40)], "seconds"),
        ("n", [int(day.strftime("%Y%m%d")) for day in DAYS], "%Y%m%d"),
        ("revenue", [1_700_000_000.5 + 3_600 * n for n in range(40)], None),
        ("phone", [4_915_000_000 + n for n in range(40)], None),
        ("time", [float(n) for n in range(40)], None),
        ("code", [20_250_199 + n for n in range(40)], None),
        ("at", [1_700_000_000] * 5, None),
    ],
)
def test_numbers_are_times_where_they_all_lie_among_them(name: str, values: list[Any], date_format: str | None) -> None:
    """Seconds, milliseconds and the digits of days; amounts, phone numbers and hours are none."""
    assert number_date_format(name, values) == date_format


@pytest.mark.parametrize("word", ["0000-00-00", "unknown", "-", "99.99.9999"])
@pytest.mark.parametrize("date_format", ["%Y-%m-%d", "%d.%m.%Y", "%Y-%m-%dT%H:%M:%S%z", "%m/%d/%Y"])
def test_a_few_words_for_no_date_leave_a_column_one_of_dates(date_format: str, word: str) -> None:
    """Up to a tenth of the values, wherever they stand; more of them, or all kinds of texts, do not."""
    days = [datetime(day.year, day.month, day.day, tzinfo=UTC).strftime(date_format) for day in DAYS]
    assert text_date_formats([word, *days, word]) == ()
    assert common_date_format([word, *days, word]) == date_format
    assert common_date_format([*days, *[word] * 8]) is None
    assert common_date_format([*days * 3, *(f"{word}{n}" for n in range(9))]) is None
    assert common_date_format([word] * 30) is None


@pytest.mark.parametrize("odd", [0, 99_999_999, -1])
def test_a_few_numbers_for_no_date_leave_numbers_times(odd: int) -> None:
    """Digits of days and seconds since 1970, with a number for none."""
    days = [int(day.strftime("%Y%m%d")) for day in DAYS]
    assert number_date_format("n", [odd, *days, odd]) == "%Y%m%d"
    assert number_date_format("at", [odd, odd, *(1_700_000_000 + 3_600 * n for n in range(40))]) == "seconds"
    assert number_date_format("n", [*days, *[odd] * 8]) is None


def test_init_says_what_it_took_a_column_for() -> None:
    """Each remark has the reason and the line that changes it; a sample without times has a sentence."""
    assert '`type = "category"`' in date_remark(FeatureSpec("day", FeatureType.DATE), ["2026-01-01"])
    for date_format in ("seconds", "%Y%m%d"):
        assert "`date_format`" in date_remark(FeatureSpec("at", FeatureType.INTEGER, date_format=date_format), [1])
    assert list(untimed_sentences(())) == []
    assert "signup, due" in next(untimed_sentences(["signup", "due"]))
