"""Values with hardly a healthy row: far outside or in thin bins, and whether other features moved along with them."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.evidence.association import association_table
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.doubts import far_rate, mean_difference, moved_along, thin_rate, value_shares, with_outside
from stillsafe.core.evidence.impact import DistributionShift
from stillsafe.core.policy import EVIDENCE
from stillsafe.core.schema import FeatureType
from stillsafe.core.window import FeatureTally, Tally
from tests.core.healthy import a_baseline

FLAG = FeatureBaseline(FeatureType.NUMERIC, 10_000, 0, 0.0, 1.0, bins=Bins((0.5,), -0.5, 1.5))
Z = 4.0


def shift_of(now: list[float], healthy: list[float], count: int = 500) -> DistributionShift:
    """One feature's shares by bin."""
    shares, healthy_shares = {"flag": np.array(now)}, {"flag": np.array(healthy)}
    return DistributionShift(shares, shares, healthy_shares, {}, {}, count, 10_000)


@pytest.mark.parametrize("rate", [0.1, 0.3, 1.0])
def test_rows_that_move_into_a_thin_bin_are_doubtful(rate: float) -> None:
    """A flag of one in two hundred rows that is set on many: the share beyond health."""
    shift = shift_of([1 - rate, rate, 0, 0, 0], [0.995, 0.005, 0, 0, 0])
    assert thin_rate(FLAG, shift, "flag", Z, EVIDENCE) == pytest.approx((rate - 0.005) / 0.995)


@pytest.mark.parametrize("healthy", [0.05, 0.3])
def test_a_bin_with_healthy_rows_is_not_thin(healthy: float) -> None:
    """Its rows show how the model does there."""
    shift = shift_of([0, 1, 0, 0, 0], [1 - healthy, healthy, 0, 0, 0])
    assert thin_rate(FLAG, shift, "flag", Z, EVIDENCE) == 0


@pytest.mark.parametrize("count", [50, 500])
def test_healthy_counts_of_a_thin_bin_are_noise(count: int) -> None:
    """Of 500 healthy windows none is doubtful."""
    draw = np.random.default_rng(count)
    for _ in range(500):
        rate = draw.binomial(count, 0.005) / count
        shift = shift_of([1 - rate, rate, 0, 0, 0], [0.995, 0.005, 0, 0, 0], count)
        assert thin_rate(FLAG, shift, "flag", Z, EVIDENCE) == 0


def test_numbers_far_outside_count_beyond_noise() -> None:
    """A few stray values do not."""
    assert far_rate(FLAG, shift_of([0.99, 0, 0, 0.01, 0], [1, 0, 0, 0, 0]), "flag", Z, EVIDENCE) == 0
    assert far_rate(FLAG, shift_of([0.2, 0, 0.3, 0.5, 0], [1, 0, 0, 0, 0]), "flag", Z, EVIDENCE) == 0.8


def test_a_genuine_shift_moves_the_partners_and_a_fault_does_not() -> None:
    """Two bins that always agree: both move, or one alone; a doubtful partner is no evidence."""
    counts = np.zeros((10, 10))
    for bin_, rows in ((0, 900.0), (1, 100.0)):
        for one in (bin_, 5 + bin_):
            for other in (bin_, 5 + bin_):
                counts[one, other] = rows
    table = association_table(["a", "b"], [5, 5], counts)
    new_shares, healthy = np.array([0.1, 0.9, 0, 0, 0]), np.array([0.9, 0.1, 0, 0, 0])
    genuine, power = moved_along(table, np.concatenate([new_shares, new_shares]), 500, 0, [0])
    lone_movement, _ = moved_along(table, np.concatenate([new_shares, healthy]), 500, 0, [0])
    assert genuine == pytest.approx(1, abs=0.1)
    assert power > EVIDENCE.power_deviations
    assert lone_movement == pytest.approx(0, abs=0.1)
    assert moved_along(table, np.concatenate([new_shares, new_shares]), 500, 0, [0, 1]) == (0.0, 0.0)


def test_the_share_of_doubtful_values_adds_up() -> None:
    """Missing, far and thin values are different values; a repeated number may be any of them."""
    shares = value_shares({"a": 0.2}, {"a": 0.1, "b": 0.6}, {"a": 0.3}, {"a": 0.1, "c": 0.4})
    assert shares == {"a": pytest.approx(0.6), "b": 0.6, "c": 0.4}


@pytest.mark.parametrize(
    ("far_count", "prediction_sum", "moves"),
    [(0, 300 * 60.0, True), (1, 1e30, False), (15, 1e30, False), (16, 1e30, True), (300, 300 * 60.0, True)],
)
def test_stray_predictions_far_outside_do_not_move_the_mean(far_count: int, prediction_sum: float, moves: bool) -> None:
    """One request of one client adds whatever it likes to a mean; twenty of hundred are no stray ones."""
    output = FeatureBaseline(FeatureType.NUMERIC, 10_000, 0, 0.0, 100.0, bins=Bins((50.0,), -100.0, 200.0))
    healthy = replace(
        a_baseline(Random(1), 10_000), outputs={"prediction": output}, prediction_mean=50.0, prediction_sd=10.0
    )
    counts = (300 - far_count, 0, 0, far_count, 0)
    tally = Tally(prediction_sum=prediction_sum, outputs={"prediction": FeatureTally(300, bin_counts=counts)})
    assert (mean_difference(healthy, tally, EVIDENCE) > 0) is moves


@pytest.mark.parametrize(
    ("thin", "far", "outside", "expected"),
    [
        ({}, {}, {"a": 0.49}, {}),
        ({}, {}, {"a": 0.5, "b": 0.1}, {"a": 0.5}),
        ({}, {"a": 0.2}, {"a": 0.9}, {"a": 0.7}),
        ({}, {"a": 0.9}, {"a": 0.9}, {}),
        ({"a": 0.3, "b": 0.2}, {}, {"a": 0.8}, {"a": 0.8, "b": 0.2}),
        ({"a": 0.8}, {}, {"a": 0.6}, {"a": 0.8}),
    ],
)
def test_a_feature_mostly_outside_its_range_is_doubtful(
    thin: dict[str, float], far: dict[str, float], outside: dict[str, float], expected: dict[str, float]
) -> None:
    """Half of the numbers where the healthy period had none; numbers far outside count once."""
    assert with_outside(thin, far, outside, EVIDENCE) == pytest.approx(expected)
