"""Many categories: those beyond the most common ones are grouped by what the model answers to them."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from stillsafe.core.policy import Policy
from stillsafe.core.schema import Schema
from stillsafe.init import infer
from stillsafe.monitoring.baseline import contradictions, reference_columns
from stillsafe.monitoring.binning import bin_codes, feature_bin_codes
from stillsafe.monitoring.category_groups import FEWEST_CATEGORIES, MOST_GROUPS, held_out_codes, with_groups
from stillsafe.monitoring.columns import Columns
from stillsafe.monitoring.noise import joint_table
from stillsafe.monitoring.profile import profile_features


def period(categories: int, *, numbers: bool, seed: int = 0) -> tuple[Columns, pd.DataFrame]:
    """Rows of equally common places, the model's answer to which depends on the place alone."""
    random = np.random.default_rng(seed)
    place = random.integers(0, categories, 6_000)
    effect = np.random.default_rng(1).random(categories)[place]
    table = pd.DataFrame({"place": [f"p{number:03d}" for number in place], "effect": effect})
    schema = infer.describe(table[["place"]]).schema
    answers = [f"{value:.6f}" for value in effect] if numbers else ["yes" if value > 0.5 else "no" for value in effect]
    confidences = [None] * len(table) if numbers else np.maximum(effect, 1 - effect).tolist()
    rows = infer.rows_of(table[["place"]], schema)
    return reference_columns(schema, rows, confidences, answers, salt="s"), table


@pytest.mark.parametrize("numbers", [True, False], ids=["regressor", "classifier"])
@pytest.mark.parametrize("categories", [60, 260])
def test_groups_differ_by_what_the_model_answers(categories: int, numbers: bool) -> None:
    """Nearly all differences between the answers of further categories lie between their groups, few rows are rare."""
    rows, table = period(categories, numbers=numbers)
    feature = profile_features(rows, infer.describe(table[["place"]]).schema)["place"]
    assert feature.bins is not None
    assert 1 < len(feature.bins.groups) <= MOST_GROUPS
    codes = bin_codes(rows.categories["place"], feature)
    is_grouped = (codes >= len(feature.bins.categories)) & (codes < feature.bins.ordinary)
    between = table.effect[is_grouped].groupby(codes[is_grouped]).transform("mean")
    assert between.var() > 0.8 * table.effect[is_grouped].var()
    assert feature.bin_counts[feature.bins.below] < 0.02 * len(table)
    assert sum(feature.bin_counts) == len(table)


def test_few_categories_need_no_groups() -> None:
    """A bin each, and the rest is rare."""
    rows, table = period(12 + FEWEST_CATEGORIES - 1, numbers=False)
    feature = profile_features(rows, infer.describe(table[["place"]]).schema)["place"]
    assert feature.bins is not None
    assert not feature.bins.groups


def test_a_later_profile_keeps_the_groups() -> None:
    """What the study learnt by bin stays valid, also in a profile of other rows."""
    rows, table = period(260, numbers=True)
    schema = infer.describe(table[["place"]]).schema
    first = profile_features(rows, schema)
    later = profile_features(period(260, numbers=True, seed=2)[0], schema, first)
    assert later["place"].bins == first["place"].bins
    assert replace(first["place"], bins=None) != later["place"]


def period_beside_numbers(categories: int, *, is_informative: bool, seed: int) -> tuple[Columns, Schema]:
    """4,000 rows of a place beside two numbers, where the answer depends on the first one alone.

    Args:
        categories: different places.
        is_informative: whether that number depends on the place.
        seed: of the rows.
    """
    random = np.random.default_rng(seed)
    place = random.integers(0, categories, 4_000)
    heights = np.random.default_rng(1).normal(size=categories)
    height = random.normal(size=4_000) + (2 * heights[place] if is_informative else 0)
    table = pd.DataFrame(
        {"place": [f"p{number:04d}" for number in place], "height": height, "other": random.normal(size=4_000)}
    )
    schema = infer.describe(table).schema
    chance = 1 / (1 + np.exp(-2 * height))
    answers = np.where(chance > 0.5, "yes", "no").tolist()
    rows = infer.rows_of(table, schema)
    return reference_columns(schema, rows, np.maximum(chance, 1 - chance).tolist(), answers, salt="s"), schema


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("categories", [40, 200, 600, 1_500])
def test_places_of_no_signal_are_associated_with_nothing(categories: int, seed: int) -> None:
    """Their mean answers are those of the other values of their rows, which is no relation of the place.

    Otherwise healthy rows would lack it: they would not fit, and neither would the second half of a healthy period.
    """
    rows, schema = period_beside_numbers(categories, is_informative=False, seed=seed)
    features = profile_features(rows, schema)
    assert features["place"].bins is not None
    assert features["place"].bins.groups
    assert joint_table(rows, features) is None
    assert contradictions(rows, schema, Policy(), datetime(2026, 3, 1, tzinfo=UTC)) == []


def test_places_that_matter_keep_their_relations() -> None:
    """A place that tells the height is associated with it, and other rows of the kind fit."""
    rows, schema = period_beside_numbers(260, is_informative=True, seed=1)
    joint = joint_table(rows, profile_features(rows, schema))
    assert joint is not None
    assert joint.features == ("height", "place")
    assert contradictions(rows, schema, Policy(), datetime(2026, 3, 1, tzinfo=UTC)) == []


def test_rows_are_counted_by_groups_of_other_rows() -> None:
    """As many bins as the feature has; groups that other rows taught stay, and so does what has no groups."""
    rows, schema = period_beside_numbers(200, is_informative=False, seed=1)
    features = profile_features(rows, schema)
    codes = feature_bin_codes(rows, features, slice(None))
    held_out = held_out_codes(rows, features, codes)
    assert features["place"].bins is not None
    assert set(held_out["place"].tolist()) <= set(range(features["place"].bins.size))
    assert (held_out["place"] != codes["place"]).mean() > 0.3
    assert all((held_out[name] == codes[name]).all() for name in ("height", "other"))
    later = period_beside_numbers(200, is_informative=False, seed=2)[0]
    later_codes = feature_bin_codes(later, features, slice(None))
    assert (held_out_codes(later, features, later_codes)["place"] == later_codes["place"]).all()


def test_one_place_of_most_rows_leaves_as_many_bins() -> None:
    """Where some groups are empty, those of other rows are fitted into the bins that there are."""
    rows, schema = period_beside_numbers(600, is_informative=False, seed=3)
    features = profile_features(rows, schema)
    bins = features["place"].bins
    assert bins is not None
    names = [name for group in bins.groups for name in group]
    dominant = {**features["place"].category_counts, names[0]: 2_000}
    for name in names[1:200]:
        dominant[name] = 1
    lopsided_feature = replace(features["place"], category_counts=dominant)
    column = rows.categories["place"]
    new_feature = with_groups(replace(lopsided_feature, bins=replace(bins, groups=())), column, rows)
    assert new_feature.bins is not None
    assert 1 < len(new_feature.bins.groups) < MOST_GROUPS
    healthy = {"place": new_feature}
    codes = held_out_codes(rows, healthy, feature_bin_codes(rows, healthy, slice(None)))["place"]
    assert codes.max() < new_feature.bins.size
