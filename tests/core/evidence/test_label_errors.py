"""Errors from counts agree with scikit-learn's; `tests/model/test_metrics.py` compares them with single rows."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from stillsafe.core.evidence.label_errors import cell_error, tally_error
from stillsafe.core.evidence.label_tally import AnswerTally
from stillsafe.core.evidence.metric import Metric, MetricDefinition

CELLS = {("yes", "yes"): 40, ("yes", "no"): 10, ("no", "yes"): 25, ("no", "no"): 125}
LABELS = [label for (label, _), count in CELLS.items() for _ in range(count)]
ANSWERS = [answer for (_, answer), count in CELLS.items() for _ in range(count)]


def test_scikit_learn_agrees() -> None:
    """The scores are those that everybody knows."""
    for metric, score in (
        (Metric.RECALL, recall_score(LABELS, ANSWERS, pos_label="yes")),
        (Metric.PRECISION, precision_score(LABELS, ANSWERS, pos_label="yes")),
        (Metric.F1, f1_score(LABELS, ANSWERS, pos_label="yes")),
        (Metric.BALANCED_ACCURACY, balanced_accuracy_score(LABELS, ANSWERS)),
    ):
        error = cell_error(MetricDefinition(metric, positive="yes"), CELLS)
        assert 1 - error.mean == pytest.approx(score), metric


def test_a_score_of_nothing_is_zero() -> None:
    """Precision without a positive answer is 0, as in the metrics of the study."""
    error = cell_error(MetricDefinition(Metric.PRECISION, positive="yes"), {("yes", "no"): 3.0, ("no", "no"): 7.0})
    assert (error.mean, error.variance) == (1.0, 0.0)


def test_a_regressor_has_sums() -> None:
    """Mean and variance of the rows' errors."""
    errors = np.array([1.0, 2.0, 2.0, 5.0])
    tally = AnswerTally(4, (), float(errors.sum()), float((errors**2).sum()))
    error = tally_error(MetricDefinition(Metric.MEAN_ABSOLUTE_ERROR), tally)
    assert [error.mean, error.variance, error.count] == pytest.approx([2.5, errors.var(), 4])
