"""Laws of the limits of an estimated loss: in the unit of its reading, and the owner's where the owner wrote them."""

import pytest

from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.metric_limits import metric_limits
from stillsafe.core.policy import Policy

POLICY = Policy()


def test_accuracy_and_mean_absolute_error_keep_their_limits() -> None:
    """Without `[harm]` both are judged as before."""
    accuracy = (POLICY.estimated_accuracy_loss_moderate, POLICY.estimated_accuracy_loss_severe)
    growth = (POLICY.estimated_error_growth_moderate, POLICY.estimated_error_growth_severe)
    assert metric_limits(POLICY, Metric.ACCURACY, 0.1, is_owners=True) == accuracy
    assert metric_limits(POLICY, Metric.MEAN_ABSOLUTE_ERROR, 7.0, is_owners=True) == growth


@pytest.mark.parametrize("metric", [m for m in Metric if m not in (Metric.ACCURACY, Metric.MEAN_ABSOLUTE_ERROR)])
def test_a_score_has_points_and_an_error_a_share_of_the_healthy_one(metric: Metric) -> None:
    """The limits of an error grow with the model's healthy error; those of a score do not."""
    moderate, severe = metric_limits(POLICY, metric, 4.0, is_owners=False)
    if metric.is_score:
        assert (moderate, severe) == (POLICY.estimated_metric_loss_moderate, POLICY.estimated_metric_loss_severe)
    else:
        assert moderate == pytest.approx(4 * POLICY.estimated_error_growth_moderate)
        assert severe == pytest.approx(4 * POLICY.estimated_error_growth_severe)


@pytest.mark.parametrize("metric", Metric)
def test_the_owners_limits_are_in_the_metrics_own_unit(metric: Metric) -> None:
    """They hold for the owner's metric alone; a growth is compared with their share of the healthy error."""
    policy, healthy_error = Policy(harm_moderate=0.5, harm_severe=2.0), 4.0
    unit = healthy_error if metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
    assert metric_limits(policy, metric, healthy_error, is_owners=True) == (0.5 / unit, 2.0 / unit)
    default = metric_limits(POLICY, metric, healthy_error, is_owners=False)
    assert metric_limits(policy, metric, healthy_error, is_owners=False) == default


def test_severe_is_never_below_moderate() -> None:
    """An owner who writes only a moderate limit raises the severe one with it."""
    moderate, severe = metric_limits(Policy(harm_moderate=0.2), Metric.AUC, 0.1, is_owners=True)
    assert moderate == severe == 0.2


def test_recall_beside_the_ranking_has_to_lose_a_share_of_itself() -> None:
    """Halving a recall is severe whatever it is, and a few points of a high recall beside the AUC are not."""
    for recall in (0.2, 0.4, 0.8):
        for metric in (Metric.RECALL, Metric.PRECISION, Metric.F1):
            moderate, severe = metric_limits(POLICY, metric, 1 - recall, is_owners=False)
            assert moderate < severe < recall / 2
            assert severe == pytest.approx(max(POLICY.evidence.positive_loss_share * recall, 0.05))
    assert metric_limits(POLICY, Metric.RECALL, 0.2, is_owners=True)[1] == POLICY.estimated_metric_loss_severe
