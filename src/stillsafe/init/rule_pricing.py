"""How fallback rules are learnt and priced by the owner's metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row, Schema
from stillsafe.core.score import Score, as_text
from stillsafe.init.rule_learner import Targets
from stillsafe.model.metrics import Outcome, cost_matrix, labels_of, performance, row_errors
from stillsafe.model.model import ModelKind

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pricing:
    """How lists are priced by the owner's metric.

    Attributes:
        title: of the score; empty for accuracy and the mean absolute error.
        model_score: the model's, where its probabilities decide it and not its answers; or None.
        is_priced: whether the metric can price an answer without a probability.
        definition: the metric, where the answers are scored by it and not by their costs.
    """

    title: str = ""
    model_score: float | None = None
    is_priced: bool = True
    definition: MetricDefinition | None = None


@dataclass(frozen=True, slots=True)
class SearchSample:
    """What rule lists are learnt and measured on.

    Attributes:
        schema: the features.
        rows: the sample, clean rows.
        labels: the label of each row, None if unknown; or None without labels.
        kind: classifier or regressor.
        predictions: the model's, None where it failed: for its score, and in place of the labels without any.
        definition: the owner's metric, or None for accuracy or the mean absolute error.
        scores: the model's, for a metric of its probabilities.
    """

    schema: Schema
    rows: Sequence[Row]
    labels: Sequence[Answer | None] | None
    kind: ModelKind
    predictions: Sequence[Answer | None] | None = None
    definition: MetricDefinition | None = None
    scores: Sequence[Score] = ()

    def pricing(self, held_out: Sequence[int]) -> Pricing:
        """How lists are priced on the held-out rows."""
        definition = self.definition
        if definition is None or definition.metric in (Metric.ACCURACY, Metric.MEAN_ABSOLUTE_ERROR):
            return Pricing()
        if definition.metric is Metric.LOG_LOSS or definition.metric.is_regression:
            return Pricing(is_priced=False)
        if definition.metric in (Metric.RECALL, Metric.PRECISION, Metric.F1) and self.labels is not None:
            return Pricing(definition.metric.phrase, definition=definition)
        if definition.metric is not Metric.AUC:
            is_cost = definition.metric is Metric.EXPECTED_COST
            return Pricing("one minus the expected cost" if is_cost else Metric.BALANCED_ACCURACY.phrase)
        numbers = [n for n in held_out if self.scores and self.scores[n].probabilities is not None]
        # The AUC of answers without a probability is their balanced accuracy.
        title, positive_class = Metric.BALANCED_ACCURACY.phrase, definition.positive
        known_labels = {label for label in self.labels or () if label is not None}
        classes = tuple(sorted(known_labels, key=repr))
        if self.labels is None or not numbers or positive_class is None or not _is_one_of_two(positive_class, classes):
            return Pricing(title)
        labels = labels_of([label for n in numbers if (label := self.labels[n]) is not None], classes)
        positive = [(self.scores[n].probabilities or {})[as_text(positive_class)] for n in numbers]
        outcome = Outcome(np.array([self.scores[n].prediction for n in numbers], object), np.array(positive)[:, None])
        return Pricing(title, performance(definition, outcome, labels))


def metric_losses(definition: MetricDefinition, answers: Numbers, targets: Targets) -> Numbers:
    """(n,) loss of each answer, whose mean is the error in the metric; see `model.metrics`."""
    names, positions = targets.classes, np.maximum(np.nan_to_num(answers, nan=0), 0).astype(int)
    predictions = np.array([names[position] for position in positions.tolist()], dtype=object)
    labels = labels_of([names[position] for position in targets.values.astype(int).tolist()], names)
    return row_errors(definition, Outcome(predictions), labels)


def _is_one_of_two(name: Answer, classes: Sequence[Answer]) -> bool:
    return len(classes) == 2 and name in classes


def answer_costs(definition: MetricDefinition | None, targets: Targets) -> Numbers | None:
    """(classes, classes) cost by label and answer, so that the mean cost is the loss in the owner's metric.

    A metric that weighs the classes alike, or is about one class, is learnt by the balanced accuracy.
    """
    if definition is None or not targets.classes or definition.metric in (Metric.ACCURACY, Metric.LOG_LOSS):
        return None
    if definition.metric is Metric.EXPECTED_COST:
        return cost_matrix(definition, targets.classes)
    count = len(targets.classes)
    shares = np.bincount(targets.values.astype(int), minlength=count) / len(targets.values)
    return np.asarray((1 - np.eye(count)) / (count * np.maximum(shares, 1e-12))[:, np.newaxis])
