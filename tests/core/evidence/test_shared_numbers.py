"""Ends of ranges, edges of bins and quantiles that no single row determines."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillsafe.core.evidence.shared_numbers import (
    merged_bin_counts,
    midpoint_edges,
    number_range,
    quantile_edges,
    roundest_number,
    shared_quantiles,
    wide_edges,
)

STEADY = settings(derandomize=True, deadline=None, max_examples=150)
FINITE = st.floats(-1e12, 1e12) | st.integers(-20, 20).map(float)
NUMBERS = st.lists(FINITE, min_size=1, max_size=80).map(lambda values: np.sort(np.array(values)))
THRESHOLDS = st.integers(1, 8)


@STEADY
@given(NUMBERS, THRESHOLDS)
def test_each_end_of_a_range_is_shared(ascending: np.ndarray, min_count: int) -> None:
    """At least so many numbers lie at or beyond each end, and the count outside is exact; without enough, no range."""
    ends = number_range(ascending, min_count)
    if ends is None:
        assert len(ascending) < 2 * min_count
        return
    assert ends.minimum <= ends.maximum
    assert int((ascending <= ends.minimum).sum()) >= min_count
    assert int((ascending >= ends.maximum).sum()) >= min_count
    assert int(((ascending < ends.minimum) | (ascending > ends.maximum)).sum()) == ends.outside_count


@STEADY
@given(NUMBERS)
def test_without_a_threshold_the_range_is_exact(ascending: np.ndarray) -> None:
    """A `min_count` of 1 withholds nothing, as before."""
    ends = number_range(ascending, 1)
    assert ends is not None
    assert (ends.minimum, ends.maximum, ends.outside_count) == (ascending[0], ascending[-1], 0)


@STEADY
@given(NUMBERS, THRESHOLDS)
def test_every_bin_holds_enough_numbers(ascending: np.ndarray, min_count: int) -> None:
    """However the numbers are spread; the edges increase, and none is at the largest number."""
    for edges in (quantile_edges(ascending, 8, min_count), midpoint_edges(ascending, min_count)):
        assert edges.tolist() == sorted(set(edges.tolist()))
        bounds = [0, *np.searchsorted(ascending, edges, "right").tolist(), len(ascending)]
        assert len(edges) == 0 or min(np.diff(bounds)) >= min_count


@STEADY
@given(st.lists(st.integers(0, 10**9), min_size=40, max_size=200, unique=True))
def test_no_edge_is_the_exact_number_of_a_single_row(digits: list[int]) -> None:
    """Different numbers with ten digits: none of them is an edge, an end or a quantile."""
    ascending = np.sort(np.array(digits) + math.pi)
    ends = number_range(ascending, 5)
    assert ends is not None
    numbers = {ends.minimum, ends.maximum, *quantile_edges(ascending, 8, 5).tolist()}
    numbers |= set(shared_quantiles(ascending, 101, 5).tolist())
    assert not numbers & set(ascending.tolist())


@STEADY
@given(FINITE, FINITE, st.floats(0, 1))
def test_the_roundest_number_is_in_the_interval(one: float, other: float, share: float) -> None:
    """It never leaves the interval, and zero is the roundest of all."""
    low, high = min(one, other), max(one, other)
    number = roundest_number(low, high, low + share * (high - low))
    assert low <= number <= high
    assert (number == 0) == (low <= 0 <= high)


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(28.71, 31.4, 30.0), (0.0123, 0.0148, 0.013), (412_345.67, 418_000.0, 415_000.0)]
)
def test_a_round_number_has_few_digits(low: float, high: float, expected: float) -> None:
    """The number that a person would name; of several the nearest to the target."""
    assert roundest_number(low, high, low + 0.3 * (high - low)) == pytest.approx(expected, rel=0.01)
    assert len(f"{roundest_number(low, high, low):g}") <= 6


@STEADY
@given(NUMBERS, THRESHOLDS)
def test_quantiles_increase_within_the_range(ascending: np.ndarray, min_count: int) -> None:
    """They are a scale, so a higher percentile is never lower."""
    quantiles = shared_quantiles(ascending, 11, min_count)
    assert len(quantiles) == 11
    assert (np.diff(quantiles) >= 0).all()
    ends = number_range(ascending, min_count)
    if ends is not None:
        assert quantiles[0] >= ends.minimum
        assert quantiles[-1] <= ends.maximum


def test_an_edge_that_leaves_too_few_numbers_is_dropped() -> None:
    """Bins merge with their neighbour until each holds enough."""
    ascending = np.array([0.0] * 10 + [1.0] * 3 + [4.0] * 10)
    assert wide_edges(ascending, np.array([0.5, 2.5, 4.0]), 5).tolist() == [0.5]
    assert wide_edges(ascending, np.array([0.5, 2.5]), 3).tolist() == [0.5, 2.5]


@STEADY
@given(st.lists(st.integers(0, 12), min_size=1, max_size=9), st.tuples(*[st.integers(0, 12)] * 3), THRESHOLDS)
def test_merged_counts_keep_every_value(ordinary: list[int], special: tuple[int, ...], min_count: int) -> None:
    """No value is lost, missing ones stay, and a bin below the threshold stays only where it is the last one."""
    counts = (*ordinary, *special)
    merged_counts = merged_bin_counts(counts, len(ordinary), min_count)
    assert sum(merged_counts) == sum(counts)
    assert merged_counts[-1] == counts[-1]
    small = [count for count in merged_counts[:-1] if 0 < count < min_count]
    assert len(small) <= 1
    assert not small or sum(1 for count in merged_counts[: len(ordinary)] if count) == 1
