"""The baseline of a window's hours: the weighted mean of the slots, in every number that a reading uses."""

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.association import baseline_association_table
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.store.codec import dumps, stored_value, to_document
from tests.monitoring.hours import MONDAY, Traffic, hourly_baseline

TRAFFIC = Traffic()


@cache
def baseline() -> Baseline:
    """Two weeks, 40 rows an hour."""
    return hourly_baseline(TRAFFIC.rows(MONDAY, 14, 40, 1))


def shares(feature: FeatureBaseline) -> np.ndarray:
    """The shares of the bins."""
    counts = np.array(feature.bin_counts, dtype=np.float64)
    return np.asarray(counts / counts.sum())


def test_one_slot_is_what_its_rows_show() -> None:
    """Shares, confidence and missing values of one hour are near those of many rows of that hour."""
    slot_baseline = composed_baseline(baseline(), {"workday-06": 60})
    rows = np.concatenate(
        [TRAFFIC.rows(MONDAY + timedelta(days=day, hours=6), 1 / 24, 2_000, day).numbers["size"] for day in (21, 22)]
    )
    bins = slot_baseline.features["size"].bins
    assert bins is not None
    expected = np.histogram(rows, [-np.inf, *bins.edges, np.inf])[0] / len(rows)
    assert shares(slot_baseline.features["size"])[: len(expected)] == pytest.approx(expected, abs=0.06)
    assert slot_baseline.avg_confidence == pytest.approx(0.9, abs=0.01)
    assert slot_baseline.effective_size == pytest.approx(400, rel=0.05)


def test_a_mix_is_the_weighted_mean_of_its_slots() -> None:
    """Of three quarters of one hour and a quarter of another, every share is that mean, to the digits kept."""
    one, other = (composed_baseline(baseline(), {slot: 1}) for slot in ("workday-06", "weekend-18"))
    mix = composed_baseline(baseline(), {"workday-06": 30, "weekend-18": 10})
    for name in ("size", "town"):
        expected = 0.75 * shares(one.features[name]) + 0.25 * shares(other.features[name])
        assert shares(mix.features[name]) == pytest.approx(expected, abs=3e-5)
    assert mix.avg_confidence == pytest.approx(0.75 * (one.avg_confidence or 0) + 0.25 * (other.avg_confidence or 0))
    sizes = [each.effective_size or 0 for each in (one, other)]
    assert mix.effective_size == pytest.approx(1 / (0.75**2 / sizes[0] + 0.25**2 / sizes[1]), abs=1)


def test_what_the_hour_does_not_move_is_that_of_the_whole_period() -> None:
    """Shares that differ between slots by noise alone are drawn to those of all rows, which are surer."""
    rows = TRAFFIC.rows(MONDAY, 14, 40, 1)
    steady = replace(rows, numbers={**rows.numbers, "cost": np.random.default_rng(2).normal(60, 9, len(rows))})
    whole = hourly_baseline(steady)
    slot_baseline = composed_baseline(whole, {"workday-06": 60})
    assert whole.slots is not None
    at, part = whole.slots.names.index("workday-06"), slice(None, len(whole.features["cost"].bin_counts))
    start = sum(
        len(whole.features[name].bin_counts) for name in whole.slots.features[: whole.slots.features.index("cost")]
    )
    own = np.array(whole.slots.counts[at][start : start + (part.stop or 0)]) / whole.slots.pooled_rows[at]
    drawn_shares, all_rows = shares(slot_baseline.features["cost"]), shares(whole.features["cost"])
    assert np.abs(drawn_shares - all_rows).sum() < 0.6 * np.abs(own - all_rows).sum()
    assert np.abs(shares(slot_baseline.features["size"]) - shares(whole.features["size"])).sum() > 0.5


def test_the_counts_of_values_stay_those_of_the_period() -> None:
    """Ranges, categories, refusals and model errors hold at any hour, and so do their references."""
    whole = replace(baseline(), refusal_count=7, model_error_count=3)
    slot_baseline = composed_baseline(whole, {"workday-06": 60})
    assert (slot_baseline.sample_size, slot_baseline.refusal_count, slot_baseline.model_error_count) == (13_440, 7, 3)
    size, healthy = slot_baseline.features["size"], whole.features["size"]
    assert size.value_count + size.missing_count == healthy.value_count + healthy.missing_count
    assert (size.minimum, size.maximum) == (healthy.minimum, healthy.maximum)
    assert slot_baseline.features["town"].category_counts == whole.features["town"].category_counts


def test_the_joint_table_has_the_marginals_of_the_slots_and_the_association_of_the_period() -> None:
    """Within one hour size and cost go together as strongly as beyond the hour, and the diagonal is their shares."""
    slot_baseline = composed_baseline(baseline(), {"workday-06": 60})
    table = baseline_association_table(slot_baseline)
    assert table is not None
    names = list(table.features)
    index = {name: names.index(name) for name in ("size", "cost")}
    assert table.is_associated[index["size"], index["cost"]]
    assert table.count == pytest.approx(13_440, abs=2)
    start, width = int(table.starts[index["size"]]), int(table.sizes[index["size"]])
    assert table.shares[start : start + width] == pytest.approx(shares(slot_baseline.features["size"]), abs=2e-3)
    assert "hour" not in names


def test_an_association_by_the_clock_alone_is_none_beyond_it() -> None:
    """Size and town both follow the hour and nothing else binds them, so at one hour they are not associated."""
    slot_baseline = composed_baseline(baseline(), {"workday-06": 60})
    table = baseline_association_table(slot_baseline)
    assert table is not None
    if "town" in table.features:
        town, size = table.features.index("town"), table.features.index("size")
        whole = baseline_association_table(baseline())
        assert whole is not None
        assert table.mutual_information[town, size] < 0.2 * whole.mutual_information[town, size]


def test_unknown_hours_compare_nothing() -> None:
    """With a fifth of unknown rows the rest is compared; with more, no distribution, confidence or association is."""
    table = baseline().slots
    assert table is not None
    keep = [index for index, name in enumerate(table.names) if name.startswith("workday")]
    columns: dict[str, Any] = {
        name: tuple(getattr(table, name)[index] for index in keep)
        for name in ("names", "rows", "pooled_rows", "counts", "confidences", "predictions")
    }
    frequent = {name: tuple(slots[index] for index in keep) for name, slots in table.frequent.items()}
    workdays = replace(table, frequent=frequent, **columns)
    narrow = replace(baseline(), slots=workdays)
    assert composed_baseline(narrow, {"workday-06": 80, "weekend-06": 20}).is_hour_known
    unknown = composed_baseline(narrow, {"workday-06": 79, "weekend-06": 21})
    assert not unknown.is_hour_known
    assert (unknown.joint, unknown.outputs, unknown.confidence_count) == (None, {}, 0)


def test_slots_survive_the_store_and_compose_alike() -> None:
    """A stored baseline composes to the same document as the one that was stored, so a replay agrees."""
    stored = stored_value(Baseline, to_document(baseline()))
    counts = {"workday-06": 30, "weekend-18": 10}
    one, other = (composed_baseline(each, counts) for each in (baseline(), stored))
    for each in (one, other):
        assert each.joint is not None
    assert dumps(to_document(replace(one, joint=None))) == dumps(to_document(replace(other, joint=None)))
    pairs = zip(one.joint.counts, other.joint.counts, strict=True)  # type: ignore[union-attr] # checked above
    assert all(np.array_equal(first, second) for first, second in pairs)


def test_a_number_that_is_common_at_an_hour_is_usual_there() -> None:
    """A zero that fills the night is no repeated number at night, and stays one at noon."""
    rows = TRAFFIC.rows(MONDAY, 14, 40, 1)
    is_night = np.isin(rows.numbers["hour"], (0, 1, 2, 3))
    quiet = np.where(is_night & (np.random.default_rng(1).random(len(rows)) < 0.9), 0.0, rows.numbers["size"])
    zeros = hourly_baseline(replace(rows, numbers={**rows.numbers, "size": quiet}))
    night, noon = (composed_baseline(zeros, {slot: 60}).features["size"] for slot in ("workday-02", "workday-12"))
    assert night.usual_rate(0.0) == pytest.approx(0.9, abs=0.05)
    assert noon.usual_rate(0.0) == pytest.approx(zeros.features["size"].usual_rate(0.0))
