"""Laws of the metrics' kinds."""

import pytest

from stillsafe.core.evidence.metric import Metric


@pytest.mark.parametrize("metric", Metric)
def test_worse_is_a_lower_score_or_a_higher_error(metric: Metric) -> None:
    """A larger error is a worse performance, by every metric."""
    low, high = metric.performance(0.1), metric.performance(0.3)
    assert metric.is_worse(high, low)
    assert not metric.is_worse(low, high)
    assert not metric.is_worse(low, low)


def test_every_metric_measures_one_kind_of_model() -> None:
    """A regressor's metric is an error and about no class; what is about one class is a score."""
    for metric in Metric:
        assert not (
            metric.is_regression and (metric.is_score or metric.has_positive_class or metric.uses_probabilities)
        )
        assert metric.is_score or not metric.has_positive_class
        assert metric.phrase
