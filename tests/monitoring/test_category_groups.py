"""Many categories: those beyond the most common ones are grouped by what the model answers to them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stillsafe.init import infer
from stillsafe.monitoring.baseline import reference_columns
from stillsafe.monitoring.binning import bin_codes
from stillsafe.monitoring.category_groups import FEWEST_CATEGORIES, MOST_GROUPS
from stillsafe.monitoring.columns import Columns
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
