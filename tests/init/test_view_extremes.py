"""What the study tries beyond all healthy values is of the feature's own form, so that the model can read it."""

import pytest

from stillsafe.core.evidence.view import View, ViewKind
from stillsafe.core.schema import FeatureSpec, FeatureType, Value
from stillsafe.init.view_extremes import view_extremes
from stillsafe.monitoring.date_values import time_of

YEAR_MICROS = 31_556_952e6


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (FeatureSpec("d", FeatureType.DATE), "2024-02-29T10:00:00+01:00"),
        (FeatureSpec("d", FeatureType.DATE, date_format="%d.%m.%Y"), "29.02.2024"),
        (FeatureSpec("d", FeatureType.INTEGER, date_format="seconds"), 1_700_000_000),
        (FeatureSpec("d", FeatureType.INTEGER, date_format="milliseconds"), 1_700_000_000_000),
        (FeatureSpec("d", FeatureType.INTEGER, date_format="%Y%m%d"), 20240229),
    ],
)
def test_far_dates_are_dates_of_the_same_form(spec: FeatureSpec, value: Value) -> None:
    """A date far in the future has a small lag, so it comes first; one far in the past second; then a missing one."""
    future, past, missing = view_extremes(View("d", ViewKind.LAG), spec, [None, value])
    years = [time_of(spec, each)[0] / YEAR_MICROS + 1970 for each in (future, past)]
    assert years == pytest.approx([2096, 1972], abs=1)
    assert missing is None
    assert type(future) is type(value)


def test_texts_beyond_all_others() -> None:
    """A shorter and a longer text, unknown words, and letters of another script."""
    spec = FeatureSpec("t", FeatureType.TEXT)
    short, long, _ = view_extremes(View("t", ViewKind.LENGTH), spec, ["late parcel"])
    assert (short, len(str(long)) > 50) == ("", True)
    assert "qzxv" in str(view_extremes(View("t", ViewKind.UNKNOWN_WORDS), spec, ["a b"])[1])
    assert not str(view_extremes(View("t", ViewKind.SCRIPT), spec, ["a b"])[1]).isascii()
    assert view_extremes(View("t", ViewKind.HOUR), spec, ["a"]) == ("a", "a", None)
