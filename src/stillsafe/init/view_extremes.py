"""Values of dates and free texts whose views no healthy value has: what the impact study tries for these."""

from collections.abc import Sequence
from datetime import datetime

from stillsafe.core.evidence.view import View, ViewKind
from stillsafe.core.schema import FeatureSpec, FeatureType, Value
from stillsafe.monitoring.date_values import UNIT_MICROS

PAST_YEAR, FUTURE_YEAR = 1972, 2096
"""Leap years, so that every date exists in them: what an unset clock and a typing error give."""
YEAR_SECONDS = 31_556_952
UNKNOWN_TEXT = "qzxv wqqk zzyx vvkq xxqz"
OTHER_SCRIPT_TEXT = "ᚠᛇᚻ ᛒᛦᚦ ᚠᚱᚩᚠᚢᚱ"
REPETITIONS = 5
"""A text that is longer than all others consists of so many copies of one."""


def view_extremes(view: View, spec: FeatureSpec, values: Sequence[Value]) -> tuple[Value, Value, Value]:
    """A value of a feature for each bin beyond the ordinary ones of a view: below or rare, above or unseen, missing.

    Args:
        view: the view.
        spec: the feature.
        values: of the sample.
    """
    example = next((value for value in values if value is not None), None)
    match view.kind:
        case ViewKind.LAG:
            return _in_year(spec, example, FUTURE_YEAR), _in_year(spec, example, PAST_YEAR), None
        case ViewKind.LENGTH:
            return "", f"{example} " * REPETITIONS, None
        case ViewKind.UNKNOWN_WORDS:
            return example, UNKNOWN_TEXT, None
        case ViewKind.SCRIPT:
            return example, OTHER_SCRIPT_TEXT, None
        case ViewKind.HOUR | ViewKind.WEEKDAY:
            return example, example, None


def _in_year(spec: FeatureSpec, example: Value, year: int) -> Value:
    """A value of the same form in another year."""
    if spec.type is not FeatureType.DATE:
        if "%" in (spec.date_format or ""):
            return year * 10_000 + 101
        per_second = UNIT_MICROS["seconds"] // UNIT_MICROS.get(spec.date_format or "", 10**6)
        return (year - 1970) * YEAR_SECONDS * per_second
    if spec.date_format is None or not isinstance(example, str):
        return f"{year}{str(example)[4:]}"
    try:
        return datetime.strptime(example, spec.date_format).replace(year=year).strftime(spec.date_format)
    except ValueError:
        return example
