"""The baseline of a window's hours, on a slot table that is written by hand."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.slot_table import SlotTable
from stillsafe.core.evidence.slots import composed_baseline, slot_of, slot_shares
from stillsafe.core.schema import FeatureType

SIZE = FeatureBaseline(
    FeatureType.NUMERIC, 8_000, 0, 0.0, 2.0, bins=Bins((1.0,), -1.0, 3.0), bin_counts=(4_000, 4_000, 0, 0, 0)
)
TABLE = SlotTable(
    "UTC",
    names=("workday-07", "workday-19"),
    rows=(4_000, 4_000),
    pooled_rows=(4_000, 4_000),
    features=("size",),
    counts=((4_000, 0, 0, 0, 0), (0, 4_000, 0, 0, 0)),
    confidences=((4_000, 3_600.0, 3_240.0, 0), (4_000, 2_400.0, 1_440.0, 4_000)),
    day_count=20,
)
BASELINE = Baseline(
    "b", "1", datetime(2026, 3, 1, tzinfo=UTC), BaselineSource.FIRST, 8_000, 8_000, 0.75, 0.15, 0.7, 0.5,
    features={"size": SIZE}, slots=TABLE,
)  # fmt: skip


def size_shares(baseline: Baseline) -> list[float]:
    """The shares of the bins of `size`."""
    counts = baseline.features["size"].bin_counts
    return [count / sum(counts) for count in counts]


def test_no_slots_and_no_times_leave_the_baseline_as_it_is() -> None:
    """An older baseline, and a window without times, are judged as before."""
    whole = replace(BASELINE, slots=None)
    assert composed_baseline(whole, {"workday-07": 10}) is whole
    assert composed_baseline(BASELINE, {}) is BASELINE


def test_a_mix_is_the_weighted_mean_of_its_slots() -> None:
    """Three quarters of the morning and a quarter of the evening: shares and confidence are that mean."""
    mix = composed_baseline(BASELINE, {"workday-07": 30, "workday-19": 10})
    assert size_shares(mix) == pytest.approx([0.75, 0.25, 0, 0, 0], abs=0.01)
    assert mix.avg_confidence == pytest.approx(0.75 * 0.9 + 0.25 * 0.6, abs=1e-6)
    assert mix.low_confidence_rate == pytest.approx(0.25, abs=1e-6)


def test_rows_of_hours_that_nobody_knows_compare_nothing() -> None:
    """More than a fifth of the window at an hour that the healthy period lacks: no distribution is compared."""
    assert composed_baseline(BASELINE, {"workday-07": 80, "workday-03": 20}).is_hour_known
    unknown = composed_baseline(BASELINE, {"workday-07": 79, "workday-03": 21})
    assert not unknown.is_hour_known
    assert (unknown.joint, unknown.outputs, unknown.confidence_count) == (None, {}, 0)


def test_a_table_of_one_kind_of_day_serves_all() -> None:
    """A period too short for kinds of day has slots of any day."""
    table = SlotTable("UTC", names=("day-07",))
    assert slot_of(table, "weekend-07") == slot_of(table, "workday-07") == "day-07"
    assert slot_of(SlotTable("UTC", names=("workday-07",)), "workday-07") == "workday-07"


def test_slot_shares_have_a_line_for_each_slot() -> None:
    """Each slot's line adds up to one; a feature that the clock determines has none."""
    shares = slot_shares(BASELINE)["size"]
    assert shares.shape == (2, 5)
    assert shares.sum(axis=1) == pytest.approx([1.0, 1.0])
