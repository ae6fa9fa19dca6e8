"""Reads dates and times of features: ISO 8601, another format of texts, or seconds and milliseconds since 1970."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema, Value

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

UNIT_MICROS: Mapping[str, int] = {"seconds": 10**6, "milliseconds": 10**3}
"""The units of a number that is a time since 1970."""
_WALL_EPOCH, _EPOCH, _MICROSECOND = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_NO_DATE = (math.nan, False)


@dataclass(frozen=True, slots=True)
class DateValues:
    """The times of `n` values.

    Attributes:
        micros: (n,) microseconds since 1970; NaN where a value is missing or no date.
        is_zoned: (n,) whether they are UTC; otherwise the value has no time zone.
    """

    micros: Numbers
    is_zoned: Mask

    def __getitem__(self, rows: "Mask | slice | NDArray[np.intp]") -> "DateValues":
        """The selected values."""
        return DateValues(self.micros[rows], self.is_zoned[rows])

    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Its arrays, in the order of its attributes."""
        return self.micros, self.is_zoned


def date_values(spec: FeatureSpec, values: Sequence[object]) -> DateValues:
    """The times of a feature's values, as its specification says how they are written."""
    read = _reader(spec)
    times: dict[object, tuple[float, bool]] = {}
    pairs = [times.get(value) or times.setdefault(value, read(value)) for value in map(_scalar, values)]
    micros, is_zoned = zip(*pairs, strict=True) if pairs else ((), ())
    return DateValues(np.array(micros, dtype=np.float64), np.array(is_zoned, dtype=np.bool_))


def time_of(spec: FeatureSpec, value: object) -> tuple[float, bool]:
    """A value's microseconds since 1970, NaN for no date; and whether they are UTC."""
    return _reader(spec)(_scalar(value))


def example_date(spec: FeatureSpec, example: str) -> str:
    """A date in ISO 8601 as requests carry it."""
    return datetime.fromisoformat(example).strftime(spec.date_format) if spec.date_format else example


def moved_dates(schema: Schema, row: Row, micros: int, now: datetime) -> Row:
    """A row of an earlier time as it would come now: each date as far from now as it was from its request.

    Args:
        schema: the features.
        row: the row.
        micros: its time in microseconds since 1970, UTC.
        now: aware UTC.
    """
    distance = (now - _EPOCH) - micros * _MICROSECOND
    dates = [spec for spec in schema.features if spec.type is FeatureType.DATE or spec.date_format is not None]
    return {**row, **{spec.name: moved_date(spec, row.get(spec.name), distance) for spec in dates}}


def moved_date(spec: FeatureSpec, value: Value, distance: timedelta) -> Value:
    """A date so much later, written as it was; the value itself where it is no date or would leave the calendar."""
    micros = time_of(spec, value)[0]
    if math.isnan(micros):
        return value
    try:
        if isinstance(value, str):
            return _moved_text(value, spec.date_format, distance)
        if "%" in (spec.date_format or ""):
            digits = (_WALL_EPOCH + micros * _MICROSECOND + distance).strftime(str(spec.date_format))
            return type(value)(digits) if isinstance(value, int | float) else value
    except OverflowError:
        return value
    seconds = distance.total_seconds() * 10**6 / UNIT_MICROS.get(spec.date_format or "", 10**6)
    return value + round(seconds) if isinstance(value, int) else float(value or 0) + seconds


SEPARATORS = ("T", "t", " ")
"""What stands between day and time in ISO 8601 as Python reads it."""


def _moved_text(text: str, date_format: str | None, distance: timedelta) -> str:
    if date_format is not None:
        return (datetime.strptime(text.strip(), date_format) + distance).strftime(date_format)
    time = datetime.fromisoformat(text.strip())
    if len(text.strip()) <= len("2026-01-31"):  # also 20260131 and 2026-W05: a day without a time
        return (time + timedelta(days=round(distance / timedelta(days=1)))).date().isoformat()
    separator = text.strip()[10:11]
    moved_text = (time + distance).isoformat(separator if separator in SEPARATORS else "T")
    return moved_text.replace("+00:00", "Z") if text.strip().endswith(("Z", "z")) else moved_text


def _scalar(value: object) -> object:
    return value if isinstance(value, str | int | float) else None


def _reader(spec: FeatureSpec) -> Callable[[object], tuple[float, bool]]:
    if spec.type is FeatureType.DATE:
        return partial(_of_text, date_format=spec.date_format)
    if "%" in (spec.date_format or ""):
        return partial(_of_whole_number, date_format=str(spec.date_format))
    return partial(_of_number, unit=UNIT_MICROS.get(spec.date_format or "", 10**6))


def _of_number(value: object, *, unit: int) -> tuple[float, bool]:
    try:
        micros = float(value) * unit if isinstance(value, int | float) else math.nan
    except OverflowError:
        return _NO_DATE
    return (micros, True) if math.isfinite(micros) else _NO_DATE


def _of_whole_number(value: object, *, date_format: str) -> tuple[float, bool]:
    """The date that the digits of a whole number are, such as 20260131."""
    try:
        is_whole = isinstance(value, int | float) and math.isfinite(value) and float(value).is_integer()
    except OverflowError:
        return _NO_DATE
    return _of_text(str(int(value)), date_format=date_format) if is_whole else _NO_DATE  # type: ignore[call-overload] # it is a number


def _of_text(value: object, *, date_format: str | None) -> tuple[float, bool]:
    if not isinstance(value, str):
        return _NO_DATE
    text = value.strip()
    try:
        time = datetime.fromisoformat(text) if date_format is None else datetime.strptime(text, date_format)
        is_zoned = time.utcoffset() is not None
        return (time - (_EPOCH if is_zoned else _WALL_EPOCH)) / _MICROSECOND, is_zoned
    except (ValueError, OverflowError, re.error):
        return _NO_DATE
