"""Profiles: bins that every value falls into, fixed once, and counts that belong to them."""

import math
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.schema import FeatureSpec, FeatureType, Logged, Row, Schema
from stillsafe.monitoring.baseline import reference_columns
from stillsafe.monitoring.columns import Columns, bin_counts, codes
from stillsafe.monitoring.profile import answers_of, output_profile, profile
from stillsafe.store.codec import from_document, to_document

SCHEMA = Schema(
    (
        FeatureSpec("size", FeatureType.NUMERIC, required=False),
        FeatureSpec("town", FeatureType.CATEGORY, required=False),
        FeatureSpec("secret", FeatureType.NUMERIC, required=False, log=Logged.HASH),
        FeatureSpec("dropped", FeatureType.NUMERIC, required=False, log=Logged.DROP),
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
    """Rows as the log would hold them, of whatever is given."""
    count = len(next(given for given in (sizes, towns, confidences, answers) if given is not None))
    none = [None] * count
    rows: list[Row] = [
        {"size": size, "town": town, "secret": size, "dropped": size}
        for size, town in zip(sizes or none, towns or none, strict=True)
    ]
    return reference_columns(SCHEMA, rows, confidences or none, answers or none, salt="s")


def placed(values: Sequence[float], healthy: FeatureBaseline) -> list[int]:
    found: list[int] = codes(np.array(values, dtype=np.float64), healthy).tolist()
    return found


def size_of(sizes: Sequence[float | None], known: Sequence[float | None] | None = None) -> FeatureBaseline:
    """The profile of a number, by its own bins or by those of an earlier one."""
    before = profile(columns(known), SCHEMA) if known is not None else None
    return profile(columns(sizes), SCHEMA, before)["size"]


@STEADY
@given(NUMBERS, st.lists(st.floats(), max_size=20))
def test_every_number_falls_into_exactly_one_bin(healthy: list[float | None], later: list[float]) -> None:
    """Whatever comes, infinities and NaN included, has one place; the healthy ones lie in ordinary bins or missing."""
    made = size_of(healthy)
    assert made.value_count + made.missing_count == len(healthy)
    if made.bins is None:
        assert not made.value_count
        return
    assert sum(made.bin_counts) == len(healthy)
    assert len(made.bin_counts) == made.bins.size
    assert made.bin_counts[made.bins.below] == made.bin_counts[made.bins.above] == 0
    assert made.bin_counts[made.bins.missing] == made.missing_count
    assert all(0 <= code < made.bins.size for code in placed(later, made))
    assert sum(bin_counts(codes(np.array(later), made), made.bins)) == len(later)


@STEADY
@given(NUMBERS)
def test_a_larger_number_never_lies_in_a_lower_bin(healthy: list[float | None]) -> None:
    """The bins are ranges in order, between far below and far above."""
    made = size_of(healthy)
    if made.bins is None or made.bins.lowest is None or made.bins.highest is None:
        return
    inside = np.linspace(made.bins.lowest, made.bins.highest, 50).tolist()
    found = placed(inside, made)
    assert found == sorted(found)
    assert max(found) < made.bins.ordinary
    beyond = [math.nextafter(made.bins.lowest, -math.inf), math.nextafter(made.bins.highest, math.inf), math.nan]
    assert placed(beyond, made) == [made.bins.below, made.bins.above, made.bins.missing]


@STEADY
@given(TOWNS, st.lists(st.none() | st.text(max_size=3), max_size=20))
def test_every_category_falls_into_exactly_one_bin(healthy: list[str | None], later: list[str | None]) -> None:
    """Ordinary, rare, never seen or missing: one of them, and each as the healthy period showed it."""
    made = profile(columns(towns=healthy), SCHEMA)["town"]
    assert made.bins is not None
    assert sum(made.bin_counts) == len(healthy)
    assert made.bin_counts[made.bins.above] == 0
    assert made.bin_counts[made.bins.missing] == made.missing_count == healthy.count(None)
    for town, code in zip(later, codes(np.array([*later, ""], dtype=object)[:-1], made).tolist(), strict=True):
        if town is None:
            assert code == made.bins.missing
        elif town not in healthy:
            assert code == made.bins.above
        elif town in made.bins.categories:
            assert made.bins.categories[code] == town
        else:
            assert code == made.bins.below


@STEADY
@given(NUMBERS, NUMBERS)
def test_a_second_profile_keeps_the_known_bins(first: list[float | None], second: list[float | None]) -> None:
    """What was learnt by bin stays valid: the same bins, the new rows counted by them, the new rows' own range."""
    before, after = size_of(first), size_of(second, known=first)
    alone = size_of(second)
    if before.bins is not None:
        assert after.bins == before.bins
        assert sum(after.bin_counts) == len(second)
    else:
        assert after.bins == alone.bins
    assert (after.value_count, after.minimum, after.maximum) == (alone.value_count, alone.minimum, alone.maximum)


def test_a_second_profile_counts_new_categories_as_rare_ones() -> None:
    """Known categories keep their bins; what the new period showed besides was seen, so it is no stranger."""
    before = profile(columns(towns=["a", "b"] * 10), SCHEMA)
    after = profile(columns(towns=["b"] * 10 + ["c"] * 10), SCHEMA, before)["town"]
    assert after.bins == before["town"].bins
    assert after.bins is not None
    assert after.bin_counts == (0, 10, 10, 0, 0)


def test_bins_of_another_kind_of_feature_are_not_kept() -> None:
    """A number's bins are of no use to a category."""
    numbers = profile(columns([1.0, 2.0, 3.0]), SCHEMA)["size"]
    made = profile(columns(towns=["a", "b"]), SCHEMA, {"town": numbers})["town"]
    assert made.bins is not None
    assert made.bins.categories == ("a", "b")


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_ordinary_bins_share_the_values_about_equally(scale: float) -> None:
    """Whatever the unit and the shape of the distribution."""
    values = (np.random.default_rng(0).lognormal(0, 2, 4_000) * scale).tolist()
    made = size_of(values)
    assert made.bins is not None
    ordinary = made.bin_counts[: made.bins.ordinary]
    assert len(ordinary) > 4
    assert max(ordinary) < 1.5 * min(ordinary)


def test_a_few_different_numbers_have_a_bin_each() -> None:
    """A count, a grade or a flag is told apart value by value, however rare one is."""
    made = size_of([0.0] * 500 + [1.0] * 3 + [4.0] * 100)
    assert made.bins is not None
    assert made.bin_counts == (500, 3, 100, 0, 0, 0)
    assert made.distinct_count == 3
    assert made.frequent == ((0.0, 500), (4.0, 100), (1.0, 3))


def test_a_number_that_never_changed_has_room_on_both_sides() -> None:
    """A little more than ever seen is not far outside; a thousandfold is."""
    made = size_of([5.0] * 50)
    assert made.bins is not None
    assert placed([5.0, 5.1, 4.9, 5_000.0, -5_000.0], made) == [0, 0, 0, made.bins.above, made.bins.below]


def test_only_what_the_log_shows_is_profiled() -> None:
    """Of a hashed number only its absence can be seen, of a dropped feature nothing."""
    made = profile(columns([1.0, None, 2.0]), SCHEMA)
    assert "dropped" not in made
    assert (made["secret"].type, made["secret"].value_count, made["secret"].missing_count) == (None, 2, 1)
    assert made["secret"].bins is None


def test_classes_and_numbers_are_told_apart() -> None:
    """A classifier's answers have a bin each, a regressor's a range; only the latter are numbers to add up."""
    classes, numbers = columns(answers=["yes", "no", "no"] * 20), columns(answers=[f"{i / 7}" for i in range(60)])
    by_class, by_number = output_profile(classes)["prediction"], output_profile(numbers)["prediction"]
    assert by_class.bins is not None
    assert by_class.bins.categories == ("no", "yes")
    assert by_class.bin_counts[:2] == (40, 20)
    assert by_number.type is FeatureType.NUMERIC
    assert sum(by_number.bin_counts) == 60
    assert answers_of(classes) is None
    assert answers_of(numbers) == pytest.approx([i / 7 for i in range(60)])
    whole = columns(answers=["0", "1", "2"] * 20)
    assert answers_of(whole) is None


def test_rows_that_the_model_did_not_answer_are_not_missing_answers() -> None:
    """Nobody asked: they count in no bin."""
    made = output_profile(columns(confidences=[0.5, None, 0.7, None], answers=["a", None, "b", None]))
    for output in made.values():
        assert output.bins is not None
        assert sum(output.bin_counts) == 2
        assert output.bin_counts[output.bins.missing] == 0


def test_without_answers_there_is_no_output() -> None:
    """Neither confidences nor answers: nothing to profile."""
    nothing = columns([1.0, 2.0])
    assert output_profile(nothing) == {}
    assert answers_of(nothing) is None


@STEADY
@given(NUMBERS, st.randoms(use_true_random=False))
def test_a_profile_does_not_depend_on_the_order_and_survives_the_store(
    healthy: list[float | None], random: Random
) -> None:
    """The same rows in any order, and the same profile after being stored."""
    made, mixed = size_of(healthy), list(healthy)
    random.shuffle(mixed)
    assert size_of(mixed) == made
    assert from_document(FeatureBaseline, to_document(made)) == made


def test_more_classes_than_bins_are_left_out() -> None:
    """Sixty classes of text have no distribution that is watched; the baseline is made all the same."""
    found = columns([1.0] * 600, confidences=[0.8] * 600, answers=[f"class{i % 60}" for i in range(600)])
    assert set(output_profile(found)) == {"confidence"}


def test_numbers_too_far_apart_have_no_bins() -> None:
    """What a float cannot hold the range of is not binned, and the profile can still be written as JSON."""
    made = size_of([1e308, -1e308] * 50)
    assert made.bins is None
    assert made.maximum == 1e308
