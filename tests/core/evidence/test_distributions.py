"""Distributions of a window and of health: shares by bin, and numbers far outside in the outermost bins."""

from dataclasses import replace

import pytest

from stillsafe.core.evidence.distributions import certain_shift, clipped_counts, distribution_shift, feature_shift
from tests.core.evidence.rows import BINS, FIRST, NAMES, draw_rows, tally_of
from tests.core.evidence.test_corruption import BASELINE, HEALTHY, shift_of, with_code


def test_the_shares_of_a_shift_sum_to_one() -> None:
    """Each feature's shares sum to one, now and in health, and numbers far outside are clipped for associations."""
    rows = with_code(with_code(draw_rows(500, 4), FIRST, BINS.above, 0.4), FIRST, BINS.below, 0.2)
    shift = shift_of(rows)
    for shares in (shift.features, shift.clipped_features, shift.healthy):
        assert set(shares) == set(NAMES)
        assert all(column.sum() == pytest.approx(1) for column in shares.values())
    assert shift.features["first"][[BINS.below, BINS.above]].tolist() == [0.2, 0.2]
    assert shift.clipped_features["first"][[BINS.below, BINS.above]].tolist() == [0, 0]
    assert min(shift.clipped_features["first"][[0, BINS.ordinary - 1]]) > 0.2


def test_clipping_keeps_every_count() -> None:
    """The counts of the special bins of numbers go to the outermost ordinary ones; the missing ones stay."""
    assert clipped_counts(BINS, (1, 2, 3, 4, 10, 20, 30)) == (11, 2, 3, 24, 0, 0, 30)


def test_without_common_bins_there_is_no_shift() -> None:
    """A baseline of an older version, or an empty window, has no bins to compare."""
    tally = tally_of(draw_rows(100, 5), HEALTHY)
    features = {name: replace(each, bins=None, bin_counts=()) for name, each in BASELINE.features.items()}
    assert distribution_shift(replace(BASELINE, features=features), tally) is None
    assert distribution_shift(BASELINE, replace(tally, features={})) is None


def test_a_certain_shift_is_what_sampling_does_not_explain() -> None:
    """Healthy rows have none, a moved feature almost all of its shift, and the others nothing."""
    assert certain_shift(shift_of(draw_rows(500, 6)), "first", 2.0) == 0
    shift = shift_of(with_code(draw_rows(500, 6), FIRST, 0, 0.6))
    assert 0.3 < certain_shift(shift, "first", 2.0) < feature_shift(shift, "first")
    assert certain_shift(shift, "second", 2.0) == 0
