"""What the healthy period leads one to expect of values that it never showed."""

from random import Random

import pytest

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.schema import FeatureType


def test_a_missing_rate_is_a_share_of_all_values() -> None:
    """Missing ones count among the values that were looked at."""
    assert FeatureBaseline(FeatureType.NUMERIC, 75, 25).missing_rate == 0.25


def test_a_feature_never_seen_has_rates_all_the_same() -> None:
    """An empty period divides nothing by zero."""
    nothing = FeatureBaseline(None, 0, 0)
    assert (nothing.missing_rate, nothing.expected_unseen_rate, nothing.expected_out_of_range_rate) == (0, 0, 2)


def test_new_categories_are_as_likely_as_the_share_of_those_seen_once() -> None:
    """Good and Turing: the singletons measure what is still to come."""
    values = {"AA": 90, "DL": 8, "HA": 1, "OO": 1}
    assert FeatureBaseline(FeatureType.CATEGORY, 100, 7, category_counts=values).expected_unseen_rate == 0.02


def test_a_period_of_nothing_but_new_words_expects_new_words() -> None:
    """An identifier is no surprise for being new."""
    values = {f"id-{number}": 1 for number in range(50)}
    assert FeatureBaseline(FeatureType.CATEGORY, 50, 0, category_counts=values).expected_unseen_rate == 1


@pytest.mark.parametrize("n", [10, 100])
def test_the_out_of_range_rate_is_what_healthy_values_show(n: int) -> None:
    """Of values drawn alike, 2 in n + 1 lie outside the range of n, whatever their distribution."""
    random = Random(7)  # seeded: the simulation can be repeated
    draws, outside = 20_000, 0
    for _ in range(draws):
        values = [random.gauss(0, 1) for _ in range(n)]
        outside += not min(values) <= random.gauss(0, 1) <= max(values)
    expected = FeatureBaseline(FeatureType.NUMERIC, n, 0, 0.0, 1.0).expected_out_of_range_rate
    assert outside / draws == pytest.approx(expected, rel=0.12)
