"""Binning: each value has one bin, and pairs of bins are counted row by row."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.schema import FeatureType
from stillsafe.monitoring import binning
from stillsafe.monitoring.binning import bin_codes, bin_counts, co_occurrence, feature_bin_codes, one_hot
from stillsafe.monitoring.columns import DictionaryColumn, read_columns
from tests.monitoring.log_rows import SCHEMA, baseline_of, log_rows

NUMBER = FeatureBaseline(FeatureType.NUMERIC, 1, 0, bins=Bins((0.5, 1.5), -1.0, 4.0))
FEATURES = [NUMBER, replace(NUMBER, bins=Bins((1.0,), 0.0, 3.0)), replace(NUMBER, bins=Bins((), 0.0, 1.0))]
ROWS = st.lists(st.tuples(*[st.sampled_from([-9.0, 0.0, 1.0, 2.0, 3.0, 99.0, None])] * 3), min_size=1, max_size=40)


def codes_of(rows: list[tuple[float | None, ...]]) -> list[binning.BinCodes]:
    """The bins of rows with three numbers."""
    columns = zip(*rows, strict=True)
    return [bin_codes(np.array(column, dtype=np.float64), each) for column, each in zip(columns, FEATURES, strict=True)]


def test_a_number_is_in_the_bin_whose_edge_it_does_not_exceed() -> None:
    """An edge belongs to the bin below it; what is far outside, infinite or missing has a special bin."""
    numbers = np.array([-1.0, 0.5, 0.6, 1.5, 4.0, -1.1, 4.1, np.nan, np.inf])
    assert bin_codes(numbers, NUMBER).tolist() == [0, 0, 1, 1, 2, 3, 4, 5, 5]


def test_a_category_is_ordinary_rare_unseen_or_missing() -> None:
    """Ordinary categories have a bin each; rare healthy ones share one, and unseen ones another."""
    category = FeatureBaseline(
        FeatureType.CATEGORY, 9, 0, category_counts={"a": 5, "b": 3, "c": 1}, bins=Bins(categories=("a", "b"))
    )
    assert bin_codes(DictionaryColumn.of(["a", "b", "c", "z", None]), category).tolist() == [0, 1, 2, 3, 4]


def test_features_without_bins_are_left_out() -> None:
    """A hashed number has no bins, and a feature that is not in the rows has no codes."""
    rows = read_columns(log_rows({"size": 1.0, "rent": "x"}, {"size": 2.0, "rent": "y"}), SCHEMA)
    features = {**baseline_of(rows).features, "another": NUMBER}
    codes = feature_bin_codes(rows, features, slice(1, None))
    assert "rent" not in codes
    assert "another" not in codes
    assert codes["size"].tolist() == [1]


def test_counts_have_every_bin() -> None:
    """Empty bins count zero."""
    assert bin_counts(np.array([0, 0, 2], dtype=np.int16), Bins((0.5, 1.5), -1.0, 4.0)) == (2, 0, 1, 0, 0, 0)


@given(ROWS)
def test_pairs_of_bins_are_counted_row_by_row(rows: list[tuple[float | None, ...]]) -> None:
    """The counts are those of the one-hot table, whatever the size of a batch."""
    codes = codes_of(rows)
    table = one_hot(FEATURES, codes, clip=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binning, "BATCH_ROWS", 7)
        counts = co_occurrence(FEATURES, codes)
    assert counts.tolist() == (table.T @ table).tolist()


@given(ROWS)
def test_each_row_has_one_bin_per_feature(rows: list[tuple[float | None, ...]]) -> None:
    """With and without clipping; clipping leaves no number far outside."""
    codes = codes_of(rows)
    for clip in (False, True):
        assert (one_hot(FEATURES, codes, clip=clip).sum(axis=1) == len(FEATURES)).all()
    bins = FEATURES[0].bins or Bins()
    assert not one_hot(FEATURES, codes, clip=True)[:, [bins.below, bins.above]].any()
