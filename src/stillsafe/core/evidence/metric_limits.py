"""Limits of an estimated loss, in the unit of its reading."""

from stillsafe.core.evidence.metric import Metric
from stillsafe.core.policy import Policy
from stillsafe.core.signals import METRIC_SIGNALS, Signal

SMALLEST_ERROR = 1e-12
BESIDE_RANKING = (Metric.RECALL, Metric.PRECISION, Metric.F1)


def metric_limits(policy: Policy, metric: Metric, healthy_error: float, *, is_owners: bool) -> tuple[float, float]:
    """The moderate and the severe limit of the loss by a metric.

    Recall, precision and F1 beside the owner's metric have to lose a share of what they are: at a threshold in the tail
    of the scores they change by points where the ranking hardly does.

    The loss of a score is in points of it; of an error in its own unit, by default as a share of the healthy error;
    the growth of a mean absolute error is a share of the healthy one.

    Args:
        policy: the rules' numbers.
        metric: the metric.
        healthy_error: the model's error in the healthy period.
        is_owners: whether it is the metric that `[harm]` names, so that its limits there apply.
    """
    signal, scale = METRIC_SIGNALS[metric], 1.0
    if signal is Signal.ESTIMATED_METRIC_LOSS and not metric.is_score:
        signal, scale = Signal.ESTIMATED_ERROR_GROWTH, max(healthy_error, SMALLEST_ERROR)
    moderate, severe = policy.effects(signal)
    moderate, severe = scale * moderate, scale * (moderate if severe is None else severe)
    if not is_owners and metric in BESIDE_RANKING:
        share = policy.evidence.positive_loss_share * metric.performance(healthy_error)
        moderate, severe = max(moderate, share / 2), max(severe, share)
    if is_owners:
        # The owner writes the limits in the metric's unit, and the reading of a mean absolute error has its growth.
        unit = max(healthy_error, SMALLEST_ERROR) if metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
        moderate = moderate if policy.harm_moderate is None else policy.harm_moderate / unit
        severe = severe if policy.harm_severe is None else policy.harm_severe / unit
    return moderate, max(moderate, severe)
