"""Noise limits: what chance explains, and how it depends on the rows."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.core.evidence.noise_limit import (
    mean_noise_limit,
    pooled_rate,
    rate_noise_limit,
    rate_standard_error,
    z_limit,
)

RATES = st.floats(0, 1)
COUNTS = st.integers(1, 1_000_000)
Z = st.floats(1, 6)


def bernstein(z: float, value: float, count: int, reference: float, healthy_count: int, variation: float) -> float:
    """Bernstein's limit at the rate that was measured."""
    slack = z * z / (6 * count)
    return slack + math.hypot(slack, z * rate_standard_error(value, count, reference, healthy_count), z * variation)


@given(Z, COUNTS, RATES, COUNTS, st.floats(0, 0.5))
def test_the_limit_of_a_rate_is_where_noise_ends(
    z: float, count: int, reference: float, healthy_count: int, variation: float
) -> None:
    """At the limit, the distance equals Bernstein's limit there; a limit beyond every rate can not be exceeded."""
    limit = rate_noise_limit(z, count, reference, healthy_count, variation)
    if reference + limit <= 1:
        bernstein_limit = bernstein(z, reference + limit, count, reference, healthy_count, variation)
        assert limit == pytest.approx(bernstein_limit, rel=1e-6, abs=1e-12)


@given(Z, st.integers(1, 400), RATES, COUNTS, st.floats(0, 0.5), st.integers(0, 400))
def test_a_fixed_limit_decides_as_one_at_the_measured_rate(
    z: float, count: int, reference: float, healthy_count: int, variation: float, events: int
) -> None:
    """A rate exceeds the fixed limit exactly where it exceeds the limit at its own pooled rate."""
    value = min(events, count) / count
    limit = rate_noise_limit(z, count, reference, healthy_count, variation)
    own_limit = bernstein(z, value, count, reference, healthy_count, variation)
    if abs(value - reference - limit) > 1e-9:
        assert (value - reference > limit) is (value - reference > own_limit)


def test_no_more_than_the_given_share_of_healthy_rates_exceeds_it() -> None:
    """With 20 readings a run, healthy rates of a window and a baseline exceed the limit as rarely as promised."""
    random, z, exceedances, trials = Random(4), z_limit(0.001, 20), 0, 4_000
    for _ in range(trials):
        rate, healthy_count, count = random.choice([0.005, 0.02, 0.2]), 1_000, 60
        healthy = sum(random.random() < rate for _ in range(healthy_count)) / healthy_count
        value = sum(random.random() < rate for _ in range(count)) / count
        exceedances += value - healthy > rate_noise_limit(z, count, healthy, healthy_count, 0.0)
    assert exceedances <= 3


def test_more_rows_need_less() -> None:
    """A larger window, a larger baseline and a steadier healthy period each lower the limit."""
    limit = rate_noise_limit(4.0, 100, 0.02, 1_000, 0.01)
    assert rate_noise_limit(4.0, 1_000, 0.02, 1_000, 0.01) < limit
    assert rate_noise_limit(4.0, 100, 0.02, 100_000, 0.01) < limit
    assert rate_noise_limit(4.0, 100, 0.02, 1_000, 0.0) < limit
    assert mean_noise_limit(4.0, 0.03, 0.04) == pytest.approx(0.2)


def test_more_readings_need_more() -> None:
    """The false alarm rate of a run is shared among its readings, also where there is none."""
    assert z_limit(0.001, 1) < z_limit(0.001, 50)
    assert z_limit(0.001, 0) == z_limit(0.001, 1)


def test_counts_that_contradict_one_another_have_no_standard_error() -> None:
    """A rate above one is no rate; the pooled rate of nothing at all is not zero."""
    assert math.isnan(rate_standard_error(3.0, 100, 0.0, 10))
    assert pooled_rate(0.0, 100, 0.0, 1_000) > 0
