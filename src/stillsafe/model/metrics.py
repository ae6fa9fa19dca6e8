"""Performance of predictions on labelled rows, by any metric, and its share per row.

Every metric is computed as the mean of one number per row, so that means over rows, weights and standard errors apply
to all of them alike. For metrics that are no mean over rows these are the pseudo-values of the metric: the metric plus
the row's influence on it, whose mean is exactly the metric, and whose variance divided by the rows is the metric's
sampling variance. Sources: E. DeLong, D. DeLong and D. Clarke-Pearson, "Comparing the areas under two or more
correlated receiver operating characteristic curves", Biometrics 44, 1988 (AUC by placement values); F. Hampel, "The
influence curve and its role in robust estimation", Journal of the American Statistical Association 69, 1974.

A label may be uncertain: a row then counts for each class with its probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.fallback import Answer
from stillsafe.core.score import as_text
from stillsafe.errors import ConfigurationError

Numbers = NDArray[np.float64]
MOST_CLASSES_NAMED = 10
SMALLEST_PROBABILITY = 1e-6
"""A log loss takes no smaller probability: one row of certain error must not decide a mean over thousands."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The model's answers to `n` rows.

    Attributes:
        predictions: (n,) classes or numbers.
        scores: (n, classes) probabilities, or (n, 1) scores of the positive class; None where the metric takes none.
    """

    predictions: NDArray[Any]
    scores: Numbers | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of `n` rows.

    Attributes:
        classes: a classifier's classes; empty for a regressor.
        shares: (n, classes) probability that each class is the label; empty for a regressor.
        numbers: (n,) labels of a regressor; empty for a classifier.
        assumed_error: error of a regressor in addition to its distance from `numbers`.
    """

    classes: tuple[Answer, ...]
    shares: Numbers
    numbers: Numbers
    assumed_error: float = 0.0

    def __getitem__(self, rows: Any) -> "Labels":
        """The labels of some rows."""
        numbers = self.numbers[rows] if len(self.numbers) else self.numbers
        shares = self.shares[rows] if len(self.shares) else self.shares
        return Labels(self.classes, shares, numbers, self.assumed_error)

    def __len__(self) -> int:
        """Rows."""
        return len(self.shares) if self.classes else len(self.numbers)


def labels_of(labels: Sequence[Answer], classes: tuple[Answer, ...]) -> Labels:
    """Known labels; of a regressor if there are no classes."""
    if not classes:
        return Labels((), np.empty(0), np.array(labels, dtype=np.float64))
    shares = np.array([[float(name == label) for name in classes] for label in labels])
    return Labels(classes, shares.reshape(len(labels), len(classes)), np.empty(0))


def with_positive_class(definition: MetricDefinition, labels: Labels) -> MetricDefinition:
    """The metric with its positive class: the one that the owner names, also as text, or the rarer one of two.

    Raises:
        ConfigurationError: the owner names no class of the model, or there are several and none is named.
    """
    if not labels.classes or not (definition.metric.has_positive_class or definition.threshold is not None):
        return definition
    name = definition.positive
    if name is None and len(labels.classes) == 2:
        rarer = labels.classes[int(labels.shares.sum(axis=0).argmin())] if len(labels.shares) else labels.classes[1]
        return replace(definition, positive=rarer)
    for each in labels.classes:
        if name is not None and (each == name or as_text(each) == str(name)):
            return replace(definition, positive=each)
    names = ", ".join(map(as_text, labels.classes[:MOST_CLASSES_NAMED]))
    raise ConfigurationError(f"{definition.metric.phrase} is about one class of {names}.", "Set `positive` in [harm].")


def row_errors(
    definition: MetricDefinition, outcome: Outcome, labels: Labels, weights: Numbers | None = None
) -> Numbers:
    """(n,) share of each row in the metric's error, whose plain mean is the error.

    Args:
        definition: the metric.
        outcome: the model's answers.
        labels: the labels.
        weights: (n,) rows of the population that each row stands for; by default all alike.

    Raises:
        KeyError: a prediction is none of the classes.
    """
    relative_weights = np.ones(len(labels)) if weights is None else weights / weights.mean()
    if not labels.classes:
        errors = _distances(definition.metric, outcome.predictions, labels, relative_weights)
    else:
        errors = _class_errors(definition, outcome, labels, relative_weights)
    return np.asarray(errors * relative_weights)


def performance(definition: MetricDefinition, outcome: Outcome, labels: Labels) -> float:
    """The performance on the rows: a score, or an error."""
    return definition.metric.performance(float(row_errors(definition, outcome, labels).mean()))


def predicted_columns(definition: MetricDefinition, outcome: Outcome, classes: Sequence[Answer]) -> NDArray[np.intp]:
    """(n,) position of each prediction among the classes, by the owner's threshold where there is one."""
    if definition.threshold is not None and outcome.scores is not None:
        scores = positive_scores(definition, outcome, classes)
        positive = _position(definition, classes)
        others = outcome.scores if outcome.scores.shape[1] > 1 else np.ones((len(scores), len(classes)))
        rest = np.where(np.arange(len(classes)) == positive, -np.inf, others).argmax(axis=1)
        return np.asarray(np.where(scores >= definition.threshold, positive, rest), dtype=np.intp)
    positions = {name: position for position, name in enumerate(classes)}
    return np.array([positions[prediction] for prediction in outcome.predictions.tolist()], dtype=np.intp)


def positive_scores(definition: MetricDefinition, outcome: Outcome, classes: Sequence[Answer]) -> Numbers:
    """(n,) score of the positive class; of answers without scores, whether they are that class."""
    if outcome.scores is None:
        return np.array([float(prediction == definition.positive) for prediction in outcome.predictions.tolist()])
    if outcome.scores.shape[1] == 1:
        return np.asarray(outcome.scores[:, 0])
    return np.asarray(outcome.scores[:, _position(definition, classes)])


def cost_matrix(definition: MetricDefinition, classes: Sequence[Answer]) -> Numbers:
    """(classes, classes) cost by label and prediction."""
    costs = {(label, prediction): cost for label, prediction, cost in definition.costs}
    return np.array([[costs.get((as_text(label), as_text(answer)), 0.0) for answer in classes] for label in classes])


def _distances(metric: Metric, predictions: NDArray[Any], labels: Labels, weights: Numbers) -> Numbers:
    distances = np.hypot(np.asarray(predictions, np.float64) - labels.numbers, labels.assumed_error)
    if metric is Metric.MEAN_SQUARED_ERROR:
        return np.asarray(distances**2)
    if metric is not Metric.MAPE:
        return np.asarray(distances)
    sizes = np.abs(labels.numbers)
    is_counted = sizes > 0
    shares = np.divide(distances, sizes, out=np.zeros(len(sizes)), where=is_counted)
    counted_rows = max(float(weights @ is_counted), 1e-12)
    mean = float(weights @ shares) / counted_rows
    return np.asarray(np.where(is_counted, mean + (shares - mean) * len(sizes) / counted_rows, mean))


def _class_errors(definition: MetricDefinition, outcome: Outcome, labels: Labels, weights: Numbers) -> Numbers:
    metric, classes = definition.metric, labels.classes
    if metric is Metric.AUC:
        scores, positive = positive_scores(definition, outcome, classes), _positive_share(definition, labels)
        return 1 - _auc_values(scores, positive, weights)
    if metric is Metric.LOG_LOSS:
        probabilities = outcome.scores if outcome.scores is not None else _one_hot(definition, outcome, classes)
        return np.asarray(-(labels.shares * np.log(np.clip(probabilities, SMALLEST_PROBABILITY, 1.0))).sum(axis=1))
    columns = predicted_columns(definition, outcome, classes)
    correct = labels.shares[np.arange(len(columns)), columns]
    match metric:
        case Metric.EXPECTED_COST:
            return np.asarray((labels.shares * cost_matrix(definition, classes)[:, columns].T).sum(axis=1))
        case Metric.BALANCED_ACCURACY:
            present = [column for column in range(len(classes)) if weights @ labels.shares[:, column] > 0]
            values = [_ratio(labels.shares[:, c] * (columns == c), labels.shares[:, c], weights) for c in present]
            return np.asarray(1 - np.mean(values, axis=0))
        case Metric.RECALL | Metric.PRECISION | Metric.F1:
            positive, is_predicted = _positive_share(definition, labels), columns == _position(definition, classes)
            true_positive = positive * is_predicted
            whole = {Metric.RECALL: positive, Metric.PRECISION: is_predicted}.get(metric, positive + is_predicted)
            return 1 - _ratio(true_positive * (2 if metric is Metric.F1 else 1), np.asarray(whole, float), weights)
        case _:
            return np.asarray(1 - correct)


def _ratio(parts: Numbers, wholes: Numbers, weights: Numbers) -> Numbers:
    """Pseudo-values of the ratio of two weighted means; 0 where the whole is 0."""
    whole = float(weights @ wholes) / len(weights)
    if whole <= 0:
        return np.zeros(len(weights))
    ratio = float(weights @ parts) / len(weights) / whole
    return np.asarray(ratio + (parts - ratio * wholes) / whole)


def _auc_values(scores: Numbers, positive: Numbers, weights: Numbers) -> Numbers:
    """Pseudo-values of the area under the ROC curve; ties count half."""
    groups, inverse = np.unique(scores, return_inverse=True)
    sums = [np.bincount(inverse, weights=weights * each, minlength=len(groups)) for each in (positive, 1 - positive)]
    if min(float(each.sum()) for each in sums) <= 0:
        return np.full(len(scores), 0.5)
    positives, negatives = (each / each.sum() for each in sums)
    below = (np.cumsum(negatives) - negatives / 2)[inverse]
    above = (1 - np.cumsum(positives) + positives / 2)[inverse]
    area = float(positives @ (np.cumsum(negatives) - negatives / 2))
    shares = [float(each.sum()) / len(scores) for each in sums]
    return np.asarray(area + positive / shares[0] * (below - area) + (1 - positive) / shares[1] * (above - area))


def _positive_share(definition: MetricDefinition, labels: Labels) -> Numbers:
    return np.asarray(labels.shares[:, _position(definition, labels.classes)])


def _position(definition: MetricDefinition, classes: Sequence[Answer]) -> int:
    names: list[Answer | None] = [*classes]
    return names.index(definition.positive)


def _one_hot(definition: MetricDefinition, outcome: Outcome, classes: Sequence[Answer]) -> Numbers:
    return np.eye(len(classes))[predicted_columns(definition, outcome, classes)]
