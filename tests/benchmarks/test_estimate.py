"""How far estimates are from the loss that labels show."""

import pytest
from benchmarks.detection.data import Task
from benchmarks.estimate.losses import RunLosses, loss_of, rows_of


def test_a_loss_is_in_points_or_a_share_of_the_error() -> None:
    """An accuracy falls, an error grows."""
    assert loss_of(Task.BINARY, 0.9, 0.7) == pytest.approx(0.2)
    assert loss_of(Task.REGRESSION, 4.0, 5.0) == pytest.approx(0.25)


def test_medians_are_of_distances_and_biases_of_differences() -> None:
    """Of all runs, of those that lost something, and by family; the ratio is ours to theirs."""
    runs = [
        RunLosses("a", "healthy", 0.0, 0.01, -0.01),
        RunLosses("a", "healthy", 0.01, 0.0, 0.02),
        RunLosses("a", "injected", 0.2, 0.15, 0.0),
    ]
    whole, harmful_row, healthy, injected = rows_of(runs)
    assert [row.name for row in (whole, harmful_row, healthy, injected)] == [
        "all", "runs that lost something", "healthy", "injected",
    ]  # fmt: skip
    assert (whole.run_count, harmful_row.run_count, healthy.run_count) == (3, 1, 2)
    assert (healthy.own_median, healthy.own_bias) == pytest.approx((0.01, 0.0))
    assert (injected.own_median, injected.peer_median, injected.peer_bias) == pytest.approx((0.05, 0.2, -0.2))
    assert injected.ratio == pytest.approx(0.25)
    assert rows_of([RunLosses("a", "healthy", 0.0, 0.01, 0.0)])[0].ratio is None
