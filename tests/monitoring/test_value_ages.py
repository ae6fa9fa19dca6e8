"""New categories each day are healthy where the sample has them each day, and new ones beyond that are not."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.policy import Policy
from stillsafe.core.readings import read_signals
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.core.signals import Evidence
from stillsafe.core.window import Window
from stillsafe.monitoring.baseline import contradictions, reference_baseline, reference_columns
from stillsafe.monitoring.columns import Columns
from stillsafe.monitoring.disclosure import Disclosure
from stillsafe.monitoring.local_time import EPOCH, fresh_slots, middle_time
from stillsafe.monitoring.slot_noise import with_slots
from stillsafe.monitoring.tally import tally
from tests.monitoring.hours import MONDAY
from tests.monitoring.log_rows import AT

Values = Callable[[NDArray[np.int64], np.random.Generator], NDArray[np.int64]]
SAMPLE_DAYS, LIVE_DAYS, PER_DAY = 7, 10, 400


def campaign(share: float) -> Values:
    """This share of the rows has the day's new campaign, the others one of three old ones."""
    return lambda days, draw: np.where(draw.random(len(days)) < share, 1_000 + days, draw.integers(0, 3, len(days)))


def catalogue(days: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.int64]:
    """Forty articles, and four more each day that stay."""
    return (draw.random(len(days)) * (40 + 4 * days)).astype(np.int64)


def old_long_tail(days: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.int64]:
    """Nothing new comes, but many values are rare."""
    return (draw.pareto(0.8, len(days)) * 20).astype(np.int64) % 3_000


def columns_of(values: Values, first_day: int, days: int, kind: FeatureType, seed: int = 1) -> Columns:
    """Rows over some days from a Monday on."""
    count, draw = days * PER_DAY, np.random.default_rng(seed)
    begin = (MONDAY + timedelta(days=first_day) - EPOCH) // timedelta(microseconds=1)
    times = begin + np.arange(count, dtype=np.int64) * (86_400 * 10**6 // PER_DAY)
    numbers = values(first_day + np.arange(count) // PER_DAY, draw).tolist()
    rows = [{"loc": f"c{number}" if kind is FeatureType.CATEGORY else number} for number in numbers]
    confidences = draw.normal(0.8, 0.03, count).clip(0, 1).tolist()
    schema = Schema((FeatureSpec("loc", kind, required=False),))
    return reference_columns(schema, rows, confidences, ["yes"] * count, salt="s", times=times)


def baseline_of(values: Values, kind: FeatureType = FeatureType.CATEGORY, timezone: str | None = "UTC") -> Baseline:
    """The baseline of a sample of a week."""
    rows, schema = columns_of(values, 0, SAMPLE_DAYS, kind), Schema((FeatureSpec("loc", kind, required=False),))
    disclosure = Disclosure(5, "s")
    baseline = reference_baseline(rows, schema, model_version="1", at=AT, disclosure=disclosure, timezone=timezone)
    return baseline if timezone is None else with_slots(baseline, rows, timezone, Policy())


def deviating_days(baseline: Baseline, values: Values, kind: FeatureType = FeatureType.CATEGORY) -> dict[int, set[str]]:
    """Per day after the sample the readings that deviate, where some do."""
    by_day = {}
    for day in range(SAMPLE_DAYS, SAMPLE_DAYS + LIVE_DAYS):
        rows = columns_of(values, day, 1, kind, seed=day)
        slots, at = fresh_slots(rows, baseline), middle_time(rows.times, AT)
        whole = composed_baseline(baseline, slots)
        counts = tally(rows, whole, 0)
        readings = read_signals(Policy(), whole, Window(at, at, "1", counts, counts, slot_counts=slots))
        by_day[day] = {each.key for each in readings if each.evidence is Evidence.BAD}
    return {day: keys for day, keys in by_day.items() if keys}


@pytest.mark.parametrize("kind", [FeatureType.CATEGORY, FeatureType.INTEGER])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_a_new_campaign_each_day_is_healthy(share: float, kind: FeatureType) -> None:
    """On every day of the sample so many rows had a value that the earlier days lack; so do they for ever."""
    baseline = baseline_of(campaign(share), kind)
    new_values = baseline.features["loc"].new_values
    assert new_values is not None
    assert new_values.shares[0] == pytest.approx(share, abs=0.05)
    assert deviating_days(baseline, campaign(share), kind) == {}


def test_new_values_each_day_for_all_rows_and_values_that_stay() -> None:
    """A batch number, and a catalogue that grows: the longer the sample is ago, the more of it is unseen."""
    assert deviating_days(baseline_of(campaign(1.0)), campaign(1.0)) == {}
    baseline = baseline_of(catalogue)
    new_values = baseline.features["loc"].new_values
    assert new_values is not None
    assert len(new_values.shares) > 1
    assert deviating_days(baseline, catalogue) == {}


def test_more_than_the_usual_share_is_a_deviation() -> None:
    """Codes that are all renamed are found in a feature with new values each day, and in one without."""
    for values in (campaign(0.2), catalogue, old_long_tail):
        baseline = baseline_of(values)
        days = deviating_days(baseline, lambda days, draw, values=values: values(days, draw) + 10**6)  # type: ignore[misc] # the values of this turn
        assert all("unseen_category_rate:loc" in days.get(day, set()) for day in (7, 8, 16))


def test_chance_is_not_time() -> None:
    """A long tail of old values, of which each day has some for the first time, is what Good and Turing estimate."""
    baseline = baseline_of(old_long_tail)
    new_values = baseline.features["loc"].new_values
    assert new_values is not None
    assert new_values.shares == ()
    assert baseline_of(old_long_tail, timezone=None).features["loc"].new_values is None


def test_a_sample_with_new_values_each_day_does_not_contradict_itself() -> None:
    """The second half lacks what the first half expects no more than the days after the sample do."""
    rows, schema = (
        columns_of(campaign(0.2), 0, SAMPLE_DAYS, FeatureType.CATEGORY),
        Schema((FeatureSpec("loc", FeatureType.CATEGORY, required=False),)),
    )
    sentences = contradictions(rows, schema, Policy(), AT, "UTC")
    assert [each for each in sentences if "unseen" in each] == []
