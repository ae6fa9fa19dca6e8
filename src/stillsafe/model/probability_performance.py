"""Realised performance of probabilities: how well they rank, and whether they are the shares that come true.

The log has the probability of the answer. With two classes that is the probability of either; with more it is that of
the answer alone, so only its calibration is known. scikit-learn computes the metrics. Intervals hold 95%: of a mean the
normal approximation; of the area under the ROC curve E. DeLong, D. DeLong and D. Clarke-Pearson, "Comparing the areas
under two or more correlated receiver operating characteristic curves", Biometrics 44, 1988; of the area under the curve
of precision and recall the binomial interval of K. Boyd, K. Eng and C. Page, "Area under the precision-recall curve",
ECML PKDD 2013.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.model.metrics import SMALLEST_PROBABILITY, Labels, Numbers, Outcome, row_errors
from stillsafe.store.read.labels import OutcomeGroup

Z = 1.959964
"""The 97.5% quantile of the normal distribution."""
BINS = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the ends of its interval; None where the rows give none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Labelled answers with about the same probability.

    Attributes:
        probability: their mean probability, of the positive class of two, or of the answer.
        share: how many of them really are that class.
        label_count: their number.
    """

    probability: float
    share: float
    label_count: int


def mean_estimate(values: Numbers, mean: float | None = None) -> Estimate:
    """A mean with its interval; none of one value."""
    value = float(values.mean() if mean is None else mean)
    if len(values) < 2:
        return Estimate(value)
    reach = Z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(value, value - reach, value + reach)


def probability_metrics(
    rows: Sequence[OutcomeGroup], positive: str | None
) -> tuple[dict[str, Estimate], tuple[CalibrationBin, ...]]:
    """Metrics and calibration of labelled answers; empty where an answer has no probability.

    Args:
        rows: labelled answers, counted by their confidence.
        positive: the class of two whose probability counts; None with more classes: the answer's counts.
    """
    if not rows or any(row.confidence is None for row in rows):
        return {}, ()
    weights = [row.count for row in rows]
    pairs = [(_probability(row, positive), row.label == (positive or row.prediction)) for row in rows]
    probabilities = np.repeat(np.clip([each for each, _ in pairs], 0.0, 1.0), weights)
    truths = np.repeat([float(each) for _, each in pairs], weights)
    metrics = {} if positive is None else _binary_metrics(probabilities, truths)
    return metrics, _calibration(probabilities, truths)


def _probability(row: OutcomeGroup, positive: str | None) -> float:
    confidence = row.confidence or 0.0
    return confidence if positive is None or row.prediction == positive else 1 - confidence


def _binary_metrics(probabilities: Numbers, truths: Numbers) -> dict[str, Estimate]:
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

    inner = np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    losses = -np.log(np.where(truths > 0, inner, 1 - inner))
    metrics = {
        "log_loss": mean_estimate(losses, log_loss(truths, inner, labels=[0, 1])),
        "brier_score": mean_estimate((probabilities - truths) ** 2, brier_score_loss(truths, probabilities)),
    }
    positives = int(truths.sum())
    if not 0 < positives < len(truths):
        return metrics
    labels = Labels((0, 1), np.column_stack([1 - truths, truths]), np.empty(0))
    outcome = Outcome(probabilities, np.column_stack([1 - probabilities, probabilities]))
    errors = row_errors(MetricDefinition(Metric.AUC, positive=1), outcome, labels)
    metrics["roc_auc"] = _area_estimate(float(roc_auc_score(truths, probabilities)), errors)
    area = float(average_precision_score(truths, probabilities))
    reach = Z * math.sqrt(area * (1 - area) / positives)
    metrics["pr_auc"] = Estimate(area, max(0.0, area - reach), min(1.0, area + reach))
    return metrics


def _area_estimate(area: float, errors: Numbers) -> Estimate:
    """An area with the interval of its rows' shares, within [0, 1]."""
    reach = Z * float(errors.std(ddof=1)) / math.sqrt(len(errors))
    return Estimate(area, max(0.0, area - reach), min(1.0, area + reach))


def _calibration(probabilities: Numbers, truths: Numbers) -> tuple[CalibrationBin, ...]:
    """Bins of equal width, without the empty ones."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    counts, sums, hits = (np.bincount(bins, weights, BINS) for weights in (None, probabilities, truths))
    return tuple(
        CalibrationBin(float(total / count), float(hit / count), int(count))
        for count, total, hit in zip(counts, sums, hits, strict=True)
        if count
    )
