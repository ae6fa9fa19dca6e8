"""Scores the model's answers to the sample and to changed copies of it, by the owner's metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.fallback import Answer
from stillsafe.core.score import Score
from stillsafe.model.confidence import has_probabilities
from stillsafe.model.frame import inputs_of
from stillsafe.model.metrics import Labels, Numbers, Outcome, labels_of, row_errors, with_positive_class
from stillsafe.model.model import Model, ModelKind, one_thread

ASSUMED_ERROR = 0.5
"""Error of a regressor without labels, as a share of the mean absolute deviation of its predictions."""
RARE_CLASS_ROWS = 0.5
"""Largest share of the studied rows that the rows of one rare class take."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """Computes the error of predictions, row by row; see `model.metrics`.

    Attributes:
        definition: the metric.
        labels: of the sample.
        with_scores: whether outcomes have scores, for this metric or for others that share them.
    """

    definition: MetricDefinition
    labels: Labels
    with_scores: bool = False

    @property
    def metric(self) -> Metric:
        """The metric."""
        return self.definition.metric

    def outcome(self, model: Model, table: Any) -> Outcome:
        """The model's answers to the rows of a table; the model may raise."""
        estimator = model.estimator
        with one_thread():
            inputs = inputs_of(estimator, table)
            predictions = np.asarray(estimator.predict(inputs))
            return Outcome(predictions, self._scores(model, inputs))

    def errors(self, outcome: Outcome, rows: NDArray[np.intp], weights: Numbers | None = None) -> Numbers:
        """(n,) share of each row in the error; its plain mean is the error.

        Args:
            outcome: the answers to these rows.
            rows: (n,) their positions in the sample.
            weights: (n,) rows of the sample that each one stands for; by default all alike.
        """
        return row_errors(self.definition, outcome, self.labels[rows], weights)

    def studied_rows(self, most: int, random: np.random.Generator) -> tuple[NDArray[np.intp], Numbers | None]:
        """Up to `most` rows of the sample in order, and what each stands for; None where all are alike.

        A metric that depends on a rare class needs rows of it: they are taken first, up to half of all.
        """
        count = len(self.labels)
        if self.metric is Metric.ACCURACY or not self.labels.classes or count <= most:
            return np.sort(random.permutation(count)[:most]), None
        strata = self.labels.shares.argmax(axis=1)
        weights = np.ones(count)
        row_parts: list[NDArray[np.intp]] = []
        left, sizes = most, np.bincount(strata, minlength=len(self.labels.classes))
        present = [stratum for stratum in np.argsort(sizes, kind="stable").tolist() if sizes[stratum]]
        for number, stratum in enumerate(present):
            members = np.flatnonzero(strata == stratum)
            take = (
                left
                if number == len(present) - 1
                else max(1, int(min(RARE_CLASS_ROWS, 1 / (len(present) - number)) * left))
            )
            rows = random.permutation(members)[:take]
            weights[rows] = len(members) / len(rows)
            row_parts.append(rows)
            left -= len(rows)
        numbers = np.sort(np.concatenate(row_parts))
        return numbers, weights[numbers]

    def _scores(self, model: Model, inputs: Any) -> Numbers | None:
        if not self.with_scores and not needs_scores(self.definition):
            return None
        estimator = model.estimator
        if has_probabilities(estimator):
            return np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
        if self.definition.positive is None or not hasattr(estimator, "decision_function"):
            return None
        decisions = np.asarray(estimator.decision_function(inputs), dtype=np.float64)
        if decisions.ndim > 1:
            return decisions
        # The decision function of two classes is that of the second one.
        return (decisions if self.definition.positive == model.classes[1] else -decisions)[:, np.newaxis]


def needs_scores(definition: MetricDefinition) -> bool:
    """Whether a metric depends on the model's scores."""
    return definition.metric.uses_probabilities or definition.threshold is not None


def scorer_of(
    model: Model, scores: Sequence[Score], labels: Sequence[Answer | None] | None, definition: MetricDefinition
) -> Scorer | None:
    """The scorer of rows that all have a score and, if there are labels, a label; None without any basis.

    Without labels, a classifier's probabilities replace them, and a regressor's own predictions.
    """
    if labels is not None:
        known_labels = [label for label in labels if label is not None]
        parsed_labels = labels_of(known_labels, model.classes)
        return Scorer(with_positive_class(definition, parsed_labels), parsed_labels)
    if model.kind is ModelKind.REGRESSOR:
        numbers = np.array([score.prediction for score in scores], dtype=np.float64)
        # Without labels the error is unknown, so we assume a model that explains half of the spread.
        assumed_error = ASSUMED_ERROR * float(np.abs(numbers - np.median(numbers)).mean())
        return Scorer(definition, Labels((), np.empty(0), numbers, assumed_error))
    if any(score.probabilities is None for score in scores):
        return None
    shares = np.array([list((score.probabilities or {}).values()) for score in scores], dtype=np.float64)
    uncertain_labels = Labels(model.classes, shares, np.empty(0))
    return Scorer(with_positive_class(definition, uncertain_labels), uncertain_labels)


def default_definition(model: Model) -> MetricDefinition:
    """Accuracy of a classifier, mean absolute error of a regressor."""
    is_regressor = model.kind is ModelKind.REGRESSOR
    return MetricDefinition(Metric.MEAN_ABSOLUTE_ERROR if is_regressor else Metric.ACCURACY)
