"""Performance metrics: how a model's performance is measured, and which loss of it matters."""

from dataclasses import dataclass
from enum import StrEnum

from stillsafe.core.fallback import Answer


class Metric(StrEnum):
    """How a model's performance is measured."""

    ACCURACY = "accuracy"
    """Share of correct predictions of a classifier."""
    BALANCED_ACCURACY = "balanced_accuracy"
    """Mean over the classes of the share of their rows that are predicted correctly."""
    RECALL = "recall"
    """Share of the positive rows that are predicted positive."""
    PRECISION = "precision"
    """Share of the positive predictions that are right; 0 without any."""
    F1 = "f1"
    """Harmonic mean of recall and precision."""
    AUC = "auc"
    """Probability that a positive row has a higher score than a negative one (area under the ROC curve)."""
    LOG_LOSS = "log_loss"
    """Mean negative logarithm of the probability that the model gave to the label."""
    EXPECTED_COST = "expected_cost"
    """Mean cost of a prediction, by the owner's cost matrix."""
    MEAN_ABSOLUTE_ERROR = "mean_absolute_error"
    """Mean distance between prediction and label of a regressor."""
    MEAN_SQUARED_ERROR = "mean_squared_error"
    """Mean squared distance between prediction and label."""
    MAPE = "mape"
    """Mean distance as a share of the label's size (mean absolute percentage error), over labels other than 0."""

    @property
    def is_score(self) -> bool:
        """Whether it is a score in [0, 1], higher is better. Its error is one minus the score."""
        return self in _SCORES

    @property
    def is_regression(self) -> bool:
        """Whether it measures a regressor."""
        return self in (Metric.MEAN_ABSOLUTE_ERROR, Metric.MEAN_SQUARED_ERROR, Metric.MAPE)

    @property
    def has_positive_class(self) -> bool:
        """Whether it is about one class."""
        return self in (Metric.RECALL, Metric.PRECISION, Metric.F1, Metric.AUC)

    @property
    def uses_probabilities(self) -> bool:
        """Whether it depends on the model's scores, and not on its predictions alone."""
        return self in (Metric.AUC, Metric.LOG_LOSS)

    @property
    def phrase(self) -> str:
        """Its name in sentences."""
        return {Metric.AUC: "AUC", Metric.F1: "F1", Metric.MAPE: "MAPE"}.get(self, self.value.replace("_", " "))

    def performance(self, error: float) -> float:
        """The performance of an error: the score, or the error itself."""
        return 1 - error if self.is_score else error

    def is_worse(self, performance: float, other: float) -> bool:
        """Whether one performance is worse than another."""
        return performance < other if self.is_score else performance > other


_SCORES = frozenset((Metric.ACCURACY, Metric.BALANCED_ACCURACY, Metric.RECALL, Metric.PRECISION, Metric.F1, Metric.AUC))


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """A metric with what the owner sets for it.

    Attributes:
        metric: the metric.
        positive: the class that recall, precision, F1 and AUC are about, or None.
        threshold: the positive class is predicted from this probability on; None: as the model predicts.
        costs: of an expected cost, label -> prediction -> cost, each as text; a pair that is absent costs nothing.
        fallback_cost: of an expected cost, what each answer of the fallback costs in addition to its errors.
        no_answer_cost: of an expected cost, what it costs to give no answer.
    """

    metric: Metric
    positive: Answer | None = None
    threshold: float | None = None
    costs: tuple[tuple[str, str, float], ...] = ()
    fallback_cost: float = 0.0
    no_answer_cost: float = 0.0
