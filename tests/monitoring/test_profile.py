"""Profiles: bins for every value, fixed once, and the counts of these bins."""

import math
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Row, Schema
from stillsafe.monitoring.baseline import reference_columns
from stillsafe.monitoring.binning import bin_codes, bin_counts
from stillsafe.monitoring.columns import Columns, DictionaryColumn
from stillsafe.monitoring.profile import numeric_predictions, profile_features, profile_outputs
from stillsafe.store.codec import from_document, to_document

SCHEMA = Schema(
    (
        FeatureSpec("size", FeatureType.NUMERIC, required=False),
        FeatureSpec("town", FeatureType.CATEGORY, required=False),
        FeatureSpec("secret", FeatureType.NUMERIC, required=False, log=LogMode.HASH),
        FeatureSpec("dropped", FeatureType.NUMERIC, required=False, log=LogMode.DROP),
    )
)
STEADY = settings(derandomize=True, deadline=None, max_examples=100)
NUMBERS = st.lists(st.none() | st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, -1.0]), min_size=1, max_size=60)
TOWNS = st.lists(st.none() | st.text("abcdefg", max_size=2), min_size=1, max_size=60)


def columns(
    sizes: Sequence[float | None] | None = None,
    towns: Sequence[str | None] | None = None,
    *,
    confidences: Sequence[float | None] | None = None,
    answers: Sequence[str | None] | None = None,
) -> Columns:
    """Rows as the log would hold them."""
    count = len(next(column for column in (sizes, towns, confidences, answers) if column is not None))
    none = [None] * count
    rows: list[Row] = [
        {"size": size, "town": town, "secret": size, "dropped": size}
        for size, town in zip(sizes or none, towns or none, strict=True)
    ]
    return reference_columns(SCHEMA, rows, confidences or none, answers or none, salt="s")


def codes_of(values: Sequence[float], healthy: FeatureBaseline) -> list[int]:
    """The bins of some numbers."""
    codes: list[int] = bin_codes(np.array(values, dtype=np.float64), healthy).tolist()
    return codes


def size_of(sizes: Sequence[float | None], first: Sequence[float | None] | None = None) -> FeatureBaseline:
    """The profile of a number, with its own bins or those of an earlier profile."""
    previous = profile_features(columns(first), SCHEMA) if first is not None else None
    return profile_features(columns(sizes), SCHEMA, previous)["size"]


@STEADY
@given(NUMBERS, st.lists(st.floats(), max_size=20))
def test_every_number_falls_into_exactly_one_bin(healthy: list[float | None], later: list[float]) -> None:
    """Any number, infinities and NaN included, has one bin; the healthy ones are in ordinary bins or missing."""
    profile = size_of(healthy)
    assert profile.value_count + profile.missing_count == len(healthy)
    if profile.bins is None:
        assert not profile.value_count
        return
    assert sum(profile.bin_counts) == len(healthy)
    assert len(profile.bin_counts) == profile.bins.size
    assert profile.bin_counts[profile.bins.below] == profile.bin_counts[profile.bins.above] == 0
    assert profile.bin_counts[profile.bins.missing] == profile.missing_count
    assert all(0 <= code < profile.bins.size for code in codes_of(later, profile))
    assert sum(bin_counts(bin_codes(np.array(later), profile), profile.bins)) == len(later)


@STEADY
@given(NUMBERS)
def test_a_larger_number_is_never_in_a_lower_bin(healthy: list[float | None]) -> None:
    """The bins are ranges in order, between far below and far above."""
    profile = size_of(healthy)
    if profile.bins is None or profile.bins.lowest is None or profile.bins.highest is None:
        return
    inside = np.linspace(profile.bins.lowest, profile.bins.highest, 50).tolist()
    codes = codes_of(inside, profile)
    assert codes == sorted(codes)
    assert max(codes) < profile.bins.ordinary
    beyond = [math.nextafter(profile.bins.lowest, -math.inf), math.nextafter(profile.bins.highest, math.inf), math.nan]
    assert codes_of(beyond, profile) == [profile.bins.below, profile.bins.above, profile.bins.missing]


@STEADY
@given(TOWNS, st.lists(st.none() | st.text(max_size=3), max_size=20))
def test_every_category_falls_into_exactly_one_bin(healthy: list[str | None], later: list[str | None]) -> None:
    """Ordinary, rare, unseen or missing, as it was in the healthy period."""
    profile = profile_features(columns(towns=healthy), SCHEMA)["town"]
    assert profile.bins is not None
    assert sum(profile.bin_counts) == len(healthy)
    assert profile.bin_counts[profile.bins.above] == 0
    assert profile.bin_counts[profile.bins.missing] == profile.missing_count == healthy.count(None)
    for town, code in zip(later, bin_codes(DictionaryColumn.of(later), profile).tolist(), strict=True):
        if town is None:
            assert code == profile.bins.missing
        elif town not in healthy:
            assert code == profile.bins.above
        elif town in profile.bins.categories:
            assert profile.bins.categories[code] == town
        else:
            assert code == profile.bins.below


@STEADY
@given(NUMBERS, NUMBERS)
def test_a_second_profile_keeps_the_first_bins(first: list[float | None], second: list[float | None]) -> None:
    """The bins stay, so what the impact study learnt by bin stays valid; counts and range are those of the new rows."""
    first_profile, second_profile = size_of(first), size_of(second, first)
    own_profile = size_of(second)
    if first_profile.bins is not None:
        assert second_profile.bins == first_profile.bins
        assert sum(second_profile.bin_counts) == len(second)
    else:
        assert second_profile.bins == own_profile.bins
    for name in ("value_count", "minimum", "maximum"):
        assert getattr(second_profile, name) == getattr(own_profile, name)


def test_a_second_profile_counts_new_categories_as_rare_ones() -> None:
    """Earlier categories keep their bins; further ones occurred in the healthy period, so they are not unseen."""
    previous = profile_features(columns(towns=["a", "b"] * 10), SCHEMA)
    town = profile_features(columns(towns=["b"] * 10 + ["c"] * 10), SCHEMA, previous)["town"]
    assert town.bins == previous["town"].bins
    assert town.bins is not None
    assert town.bin_counts == (0, 10, 10, 0, 0)


def test_bins_of_another_kind_of_feature_are_not_kept() -> None:
    """A number's bins do not fit a category."""
    numbers = profile_features(columns([1.0, 2.0, 3.0]), SCHEMA)["size"]
    profile = profile_features(columns(towns=["a", "b"]), SCHEMA, {"town": numbers})["town"]
    assert profile.bins is not None
    assert profile.bins.categories == ("a", "b")


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_ordinary_bins_share_the_values_about_equally(scale: float) -> None:
    """Whatever the unit and the shape of the distribution."""
    values = (np.random.default_rng(0).lognormal(0, 2, 4_000) * scale).tolist()
    profile = size_of(values)
    assert profile.bins is not None
    ordinary = profile.bin_counts[: profile.bins.ordinary]
    assert len(ordinary) > 4
    assert max(ordinary) < 1.5 * min(ordinary)


def test_a_few_different_numbers_have_a_bin_each() -> None:
    """A count, a grade or a flag has a bin for each value, however rare one is."""
    profile = size_of([0.0] * 500 + [1.0] * 3 + [4.0] * 100)
    assert profile.bins is not None
    assert profile.bin_counts == (500, 3, 100, 0, 0, 0)
    assert profile.distinct_count == 3
    assert profile.frequent == ((0.0, 500), (4.0, 100), (1.0, 3))


def test_a_number_that_never_changed_has_a_margin_on_both_sides() -> None:
    """A number slightly beyond the healthy range is not far outside; a thousand times larger one is."""
    profile = size_of([5.0] * 50)
    assert profile.bins is not None
    assert codes_of([5.0, 5.1, 4.9, 5_000.0, -5_000.0], profile) == [0, 0, 0, profile.bins.above, profile.bins.below]


def test_only_what_the_log_shows_is_profiled() -> None:
    """A hashed number is profiled only by its missing values, a dropped feature not at all."""
    profile = profile_features(columns([1.0, None, 2.0]), SCHEMA)
    assert "dropped" not in profile
    assert (profile["secret"].type, profile["secret"].value_count, profile["secret"].missing_count) == (None, 2, 1)
    assert profile["secret"].bins is None


def test_classes_and_numbers_have_different_profiles() -> None:
    """A classifier's predictions have a bin each, a regressor's a range; only the latter are numeric."""
    classes, numbers = columns(answers=["yes", "no", "no"] * 20), columns(answers=[f"{i / 7}" for i in range(60)])
    by_class, by_number = profile_outputs(classes)["prediction"], profile_outputs(numbers)["prediction"]
    assert by_class.bins is not None
    assert by_class.bins.categories == ("no", "yes")
    assert by_class.bin_counts[:2] == (40, 20)
    assert by_number.type is FeatureType.NUMERIC
    assert sum(by_number.bin_counts) == 60
    assert numeric_predictions(classes) is None
    assert numeric_predictions(numbers) == pytest.approx([i / 7 for i in range(60)])
    whole = columns(answers=["0", "1", "2"] * 20)
    assert numeric_predictions(whole) is None


def test_bypassed_rows_are_no_missing_predictions() -> None:
    """The model profile no prediction, so they count in no bin."""
    profile = profile_outputs(columns(confidences=[0.5, None, 0.7, None], answers=["a", None, "b", None]))
    for output in profile.values():
        assert output.bins is not None
        assert sum(output.bin_counts) == 2
        assert output.bin_counts[output.bins.missing] == 0


def test_without_predictions_there_is_no_output() -> None:
    """Neither confidences nor predictions leave anything to profile."""
    nothing = columns([1.0, 2.0])
    assert profile_outputs(nothing) == {}
    assert numeric_predictions(nothing) is None


@STEADY
@given(NUMBERS, st.randoms(use_true_random=False))
def test_a_profile_does_not_depend_on_the_order_and_survives_the_store(
    healthy: list[float | None], random: Random
) -> None:
    """The same rows in any order, and the same profile after being stored."""
    profile, other_order = size_of(healthy), list(healthy)
    random.shuffle(other_order)
    assert size_of(other_order) == profile
    assert from_document(FeatureBaseline, to_document(profile)) == profile


def test_more_classes_than_bins_are_left_out() -> None:
    """The distribution of sixty text classes is not monitored; the baseline is made all the same."""
    rows = columns([1.0] * 600, confidences=[0.8] * 600, answers=[f"class{i % 60}" for i in range(600)])
    assert set(profile_outputs(rows)) == {"confidence"}


def test_numbers_too_far_apart_have_no_bins() -> None:
    """A range that no float can hold is not binned, and the profile can still be written as JSON."""
    profile = size_of([1e308, -1e308] * 50)
    assert profile.bins is None
    assert profile.maximum == 1e308
