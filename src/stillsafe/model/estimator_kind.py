"""The declared kind of an estimator: classifier, regressor or detector of anomalies, of whatever library.

scikit-learn's tags declare it, and older libraries do so by their base classes or by `_estimator_type`. A pipeline of
scikit-learn reads the tags of its last step alone, so we look at that step as well.
"""

from enum import StrEnum
from typing import Any

DEEPEST = 12
"""Deepest nesting of pipelines and searches that is searched."""


class DeclaredKind(StrEnum):
    """The words of scikit-learn."""

    CLASSIFIER = "classifier"
    """It answers with one of its classes."""
    REGRESSOR = "regressor"
    """It answers with a number."""
    OUTLIER_DETECTOR = "outlier_detector"
    """It answers with -1 for an outlier and 1 for any other row."""


def declared_kind(estimator: Any) -> DeclaredKind | None:
    """The declared kind of an estimator, or None.

    An object with `predict_proba` and `classes_` without a declared kind is a classifier.
    """
    last = last_estimator(estimator)
    for part in (estimator, last):
        if (kind := _kind_by_tags(part) or _kind_by_class(part)) is not None:
            return kind
    if hasattr(last, "predict_proba") and hasattr(last, "classes_"):
        return DeclaredKind.CLASSIFIER
    return None


def last_estimator(estimator: Any) -> Any:
    """The estimator that predicts: the last step of a pipeline, the best one of a search."""
    for _ in range(DEEPEST):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "named_steps") and isinstance(getattr(estimator, "steps", None), list):
            estimator = estimator.steps[-1][1]
        else:
            break
    return estimator


def is_of_scikit_learn(estimator: Any) -> bool:
    """Whether the class of an estimator is scikit-learn's own."""
    return type(estimator).__module__.partition(".")[0] == "sklearn"


def _kind_by_tags(estimator: Any) -> DeclaredKind | None:
    from sklearn import base

    questions = {
        DeclaredKind.CLASSIFIER: base.is_classifier,
        DeclaredKind.REGRESSOR: base.is_regressor,
        DeclaredKind.OUTLIER_DETECTOR: base.is_outlier_detector,
    }
    try:
        return next((kind for kind, is_kind in questions.items() if is_kind(estimator)), None)
    except (AttributeError, TypeError):  # an object without scikit-learn's tags, which newer versions refuse
        return None


def _kind_by_class(estimator: Any) -> DeclaredKind | None:
    """By its base classes, which give no tags if they stand behind `BaseEstimator`; else by its attribute."""
    from sklearn import base

    classes = {
        DeclaredKind.CLASSIFIER: base.ClassifierMixin,
        DeclaredKind.REGRESSOR: base.RegressorMixin,
        DeclaredKind.OUTLIER_DETECTOR: base.OutlierMixin,
    }
    if (kind := next((kind for kind, mixin in classes.items() if isinstance(estimator, mixin)), None)) is not None:
        return kind
    word = getattr(estimator, "_estimator_type", None)
    return DeclaredKind(word) if isinstance(word, str) and word in [*DeclaredKind] else None
