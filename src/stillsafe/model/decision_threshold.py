"""The threshold of a binary classifier that does not answer with the likeliest class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stillsafe.core.fallback import Answer
from stillsafe.model.boosters.adapter import BoosterModel

_BY_PROBABILITY, _BY_MARGIN = 0.5, 0.0


@dataclass(frozen=True, slots=True)
class DecisionThreshold:
    """When a binary classifier answers with one class.

    Attributes:
        value: the smallest score with which the class is the answer.
        answer: the class.
        score: `predict_proba` or `decision_function`.
    """

    value: float
    answer: Answer
    score: str


def decision_threshold(estimator: Any, classes: Sequence[Answer]) -> DecisionThreshold | None:
    """The threshold of scikit-learn's threshold classifiers and of CatBoost, in a pipeline as well; None without one.

    Args:
        estimator: a fitted estimator.
        classes: its classes.
    """
    while hasattr(estimator, "best_estimator_") or hasattr(estimator, "steps"):
        estimator = estimator.best_estimator_ if hasattr(estimator, "best_estimator_") else estimator.steps[-1][1]
    if len(classes) != 2:
        return None
    if isinstance(estimator, BoosterModel):
        threshold = estimator.decision_threshold
        return None if threshold is None else DecisionThreshold(threshold, classes[1], "predict_proba")
    name = type(estimator).__name__
    if name not in ("FixedThresholdClassifier", "TunedThresholdClassifierCV"):
        return None
    score = estimator.response_method
    if score == "auto":
        score = "predict_proba" if hasattr(estimator, "predict_proba") else "decision_function"
    value: Any = getattr(estimator, "best_threshold_", getattr(estimator, "threshold", "auto"))
    if value == "auto":
        value = _BY_PROBABILITY if score == "predict_proba" else _BY_MARGIN
    positive = getattr(estimator, "pos_label", None)
    answer = classes[1] if positive is None else next((each for each in classes if each == positive), classes[1])
    return DecisionThreshold(float(value), answer, score)
