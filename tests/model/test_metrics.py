"""Laws of metrics: each is the mean of one number per row, exactly, with weights and with uncertain labels."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from stillsafe.core.evidence.label_errors import cell_error
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.errors import ConfigurationError
from stillsafe.model.metrics import Labels, Outcome, labels_of, performance, row_errors, with_positive_class

COUNT = 2_000
CLASSES = (0, 1)
RANDOM = np.random.default_rng(0)
PROBABILITIES = np.clip(np.round(RANDOM.beta(0.3, 3, COUNT) + RANDOM.normal(0, 0.05, COUNT), 2), 0.01, 0.99)
TRUTHS = (RANDOM.random(COUNT) < PROBABILITIES).astype(int)
PREDICTIONS = (PROBABILITIES > 0.3).astype(int)
OUTCOME = Outcome(PREDICTIONS.astype(object), np.column_stack([1 - PROBABILITIES, PROBABILITIES]))
LABELS = labels_of(TRUTHS.tolist(), CLASSES)
WEIGHTS = RANDOM.integers(1, 9, COUNT).astype(float)
BY_PREDICTION = {
    Metric.ACCURACY: sklearn_metrics.accuracy_score,
    Metric.BALANCED_ACCURACY: sklearn_metrics.balanced_accuracy_score,
    Metric.RECALL: sklearn_metrics.recall_score,
    Metric.PRECISION: sklearn_metrics.precision_score,
    Metric.F1: sklearn_metrics.f1_score,
}
OF_NUMBERS = {
    Metric.MEAN_ABSOLUTE_ERROR: sklearn_metrics.mean_absolute_error,
    Metric.MEAN_SQUARED_ERROR: sklearn_metrics.mean_squared_error,
    Metric.MAPE: sklearn_metrics.mean_absolute_percentage_error,
}


@pytest.mark.parametrize("metric", BY_PREDICTION)
def test_a_metric_of_predictions_is_that_of_scikit_learn(metric: Metric) -> None:
    """One minus the mean of the rows' errors is the metric, weighted rows included."""
    definition, expected = MetricDefinition(metric, 1), BY_PREDICTION[metric]
    assert performance(definition, OUTCOME, LABELS) == pytest.approx(expected(TRUTHS, PREDICTIONS))
    weighted_score = 1 - row_errors(definition, OUTCOME, LABELS, WEIGHTS).mean()
    assert weighted_score == pytest.approx(expected(TRUTHS, PREDICTIONS, sample_weight=WEIGHTS))


def test_a_metric_of_probabilities_is_that_of_scikit_learn() -> None:
    """AUC counts ties half; the log loss takes the probability of the label."""
    auc, log_loss = MetricDefinition(Metric.AUC, 1), MetricDefinition(Metric.LOG_LOSS)
    for weights in (None, WEIGHTS):
        area = 1 - row_errors(auc, OUTCOME, LABELS, weights).mean()
        assert area == pytest.approx(sklearn_metrics.roc_auc_score(TRUTHS, PROBABILITIES, sample_weight=weights))
        loss = row_errors(log_loss, OUTCOME, LABELS, weights).mean()
        assert loss == pytest.approx(sklearn_metrics.log_loss(TRUTHS, PROBABILITIES, sample_weight=weights))
    other_class = MetricDefinition(Metric.AUC, 0)
    assert performance(other_class, OUTCOME, LABELS) == pytest.approx(performance(auc, OUTCOME, LABELS))


@pytest.mark.parametrize("metric", OF_NUMBERS)
def test_an_error_of_numbers_is_that_of_scikit_learn(metric: Metric) -> None:
    """Weighted rows included; a label of 0 has no percentage and is left out."""
    truths = RANDOM.normal(10, 2, COUNT)
    predictions = truths + RANDOM.normal(0, 1, COUNT)
    labels = labels_of(truths.tolist(), ())
    errors = row_errors(MetricDefinition(metric), Outcome(predictions), labels, WEIGHTS)
    assert errors.mean() == pytest.approx(OF_NUMBERS[metric](truths, predictions, sample_weight=WEIGHTS))
    if metric is Metric.MAPE:
        with_zero = labels_of([0.0, 10.0, 20.0], ())
        assert performance(MetricDefinition(metric), Outcome(np.array([5.0, 11.0, 20.0])), with_zero) == pytest.approx(
            0.05
        )


@pytest.mark.parametrize("metric", [Metric.AUC, Metric.F1, Metric.PRECISION, Metric.RECALL, Metric.BALANCED_ACCURACY])
def test_the_rows_variance_is_the_metrics_sampling_variance(metric: Metric) -> None:
    """The standard deviation of the rows' numbers over the root of the rows is the spread over other samples."""
    definition, values = MetricDefinition(metric, 1), []
    for _ in range(300):
        rows = RANDOM.integers(0, COUNT, COUNT)
        outcome = Outcome(OUTCOME.predictions[rows], OUTCOME.scores[rows])  # type: ignore[index] # it has scores
        values.append(performance(definition, outcome, LABELS[rows]))
    standard_error = row_errors(definition, OUTCOME, LABELS).std() / np.sqrt(COUNT)
    assert np.std(values) == pytest.approx(standard_error, rel=0.2)


def test_an_expected_cost_is_the_mean_of_the_cost_matrix() -> None:
    """Each error costs what the owner wrote for it; a pair that is absent costs nothing."""
    definition = MetricDefinition(Metric.EXPECTED_COST, costs=(("1", "0", 50.0), ("0", "1", 2.0)))
    misses, alarms = ((TRUTHS == 1) & (PREDICTIONS == 0)).sum(), ((TRUTHS == 0) & (PREDICTIONS == 1)).sum()
    assert performance(definition, OUTCOME, LABELS) == pytest.approx((50 * misses + 2 * alarms) / COUNT)


def test_a_threshold_decides_who_is_positive() -> None:
    """With the owner's threshold the predictions come from the probabilities."""
    definition = MetricDefinition(Metric.RECALL, 1, threshold=0.1)
    expected = sklearn_metrics.recall_score(TRUTHS, PROBABILITIES >= 0.1)
    assert performance(definition, OUTCOME, LABELS) == pytest.approx(expected)


def test_uncertain_labels_count_for_each_class() -> None:
    """A row whose label is uncertain counts as two rows with certain ones, each with its probability."""
    shares = np.array([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]])
    outcome = Outcome(np.array([1, 0, 1], dtype=object), np.array([[0.3, 0.7], [0.8, 0.2], [0.4, 0.6]]))
    doubled_outcome = Outcome(np.repeat(outcome.predictions, 2), np.repeat(outcome.scores, 2, axis=0))  # type: ignore[arg-type] # has scores
    certain = labels_of([0, 1] * 3, CLASSES)
    for metric in (*BY_PREDICTION, Metric.AUC, Metric.LOG_LOSS):
        definition = MetricDefinition(metric, 1)
        uncertain = row_errors(definition, outcome, Labels(CLASSES, shares, np.empty(0))).mean()
        assert uncertain == pytest.approx(row_errors(definition, doubled_outcome, certain, shares.ravel()).mean())


def test_what_does_not_occur_scores_zero() -> None:
    """No positive prediction has precision 0 and no positive row recall 0; one class alone has an AUC of one half."""
    nobody = Outcome(np.zeros(4, dtype=object), np.tile([0.9, 0.1], (4, 1)))
    both_labels, negative = labels_of([0, 1, 0, 1], CLASSES), labels_of([0, 0, 0, 0], CLASSES)
    assert performance(MetricDefinition(Metric.PRECISION, 1), nobody, both_labels) == 0
    assert performance(MetricDefinition(Metric.F1, 1), nobody, both_labels) == 0
    assert performance(MetricDefinition(Metric.RECALL, 1), nobody, negative) == 0
    assert performance(MetricDefinition(Metric.AUC, 1), nobody, negative) == 0.5


def test_the_positive_class_is_named_or_the_rarer_one() -> None:
    """A class may be written as text; of two the rarer one is meant; of several the owner has to name it."""
    recall, positive = MetricDefinition(Metric.RECALL), MetricDefinition(Metric.RECALL, 1)
    assert with_positive_class(recall, LABELS) == positive
    assert with_positive_class(MetricDefinition(Metric.RECALL, "1"), LABELS) == positive
    assert with_positive_class(MetricDefinition(Metric.ACCURACY), LABELS).positive is None
    for definition in (MetricDefinition(Metric.AUC), MetricDefinition(Metric.AUC, "maybe")):
        with pytest.raises(ConfigurationError):
            with_positive_class(definition, labels_of([0, 1, 2], (0, 1, 2)))


@pytest.mark.parametrize(
    "metric", [each for each in Metric if not each.uses_probabilities and not each.is_regression], ids=str
)
def test_counts_give_what_single_rows_give(metric: Metric) -> None:
    """The realised loss counts answers by label: mean and variance are those of the pseudo-values of the rows."""
    cells = {("yes", "yes"): 40, ("yes", "no"): 10, ("no", "yes"): 25, ("no", "no"): 125}
    labels = [label for (label, _), count in cells.items() for _ in range(count)]
    answers = [answer for (_, answer), count in cells.items() for _ in range(count)]
    definition = MetricDefinition(metric, positive="yes", costs=(("yes", "no", 5.0), ("no", "yes", 1.0)))
    rows = row_errors(definition, Outcome(np.array(answers)), labels_of(labels, ("yes", "no")))
    error = cell_error(definition, cells)
    assert [error.mean, error.variance, error.count] == pytest.approx([rows.mean(), rows.var(), 200])
