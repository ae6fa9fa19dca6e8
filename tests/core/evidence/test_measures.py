"""What a window's counts measure: clock features by their contradictions, shares of hours by the hours' own rows."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.evidence.measures import feature_measures
from stillsafe.core.evidence.slot_table import ClockFeature, ClockUnit
from stillsafe.core.policy import EVIDENCE
from stillsafe.core.schema import FeatureType
from stillsafe.core.signals import Signal
from stillsafe.core.window import FeatureTally, Tally

HOUR = FeatureBaseline(FeatureType.INTEGER, 1_000, 0, 0.0, 23.0, distinct_count=24)
BASELINE = Baseline(
    "b",
    "1",
    datetime(2026, 3, 1, tzinfo=UTC),
    BaselineSource.FIRST,
    1_000,
    0,
    None,
    None,
    None,
    None,
    features={"hour": HOUR},
    clock={"hour": ClockFeature(ClockUnit.HOUR, {"7": (40, 0)}, ("7", "8"))},
)


def measure_values(tally: FeatureTally, baseline: Baseline = BASELINE) -> dict[str, float]:
    """Value by key of the measures of one feature."""
    measures = feature_measures(EVIDENCE, baseline, Tally(features={"hour": tally}))
    return {measure.key: measure.value for measure in measures}


def test_a_clock_feature_is_measured_by_contradictions_only() -> None:
    """Not by range, category or repetition: an hour that repeats in all rows of a window is what hours do."""
    values = measure_values(
        FeatureTally(100, 0, above_count=100, commonest=(30.0, 100), clock_count=80, contradiction_count=20)
    )
    assert values == {"missing_rate:hour": 0.0, "clock_contradiction_rate:hour": 0.25}


def test_an_unknown_time_contradicts_nothing() -> None:
    """Without a value whose time is known the share is 0 of all values, which is enough to judge."""
    values = measure_values(FeatureTally(100, 0))
    assert values["clock_contradiction_rate:hour"] == 0.0


def test_a_feature_that_is_no_clock_is_measured_as_before() -> None:
    """By its range and its repeated number."""
    values = measure_values(FeatureTally(100, 0, above_count=10, commonest=(30.0, 100)), replace(BASELINE, clock={}))
    assert values.keys() == {"missing_rate:hour", "out_of_range_rate:hour", "repeated_value_rate:hour"} - (
        set() if EVIDENCE.repeat_min_distinct <= HOUR.distinct_count else {"repeated_value_rate:hour"}
    )


@pytest.mark.parametrize(("effective", "healthy"), [(None, 1_000), (80, 80), (5_000, 1_000)])
def test_the_missing_rate_has_the_noise_of_the_rows_behind_it(effective: int | None, healthy: int) -> None:
    """A composed baseline's shares come from its hours' rows, and from no more than there are."""
    slot_baseline = replace(BASELINE, effective_size=effective)
    (missing, _) = feature_measures(EVIDENCE, slot_baseline, Tally(features={"hour": FeatureTally(90, 10)}))
    assert missing.signal is Signal.MISSING_RATE
    assert missing.healthy_count == healthy
