"""What a model is, is known from what its library says, whichever way it says it."""

from types import SimpleNamespace
from typing import Any

import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stillsafe.model.estimator_kind import DeclaredKind, declared_kind, is_of_scikit_learn, last_estimator
from tests.model.models import LateTaggedClassifier, LateTaggedRegressor, NamedRegressor, PlainModel

LIKE_A_CLASSIFIER = SimpleNamespace(predict=len, predict_proba=len, classes_=[0, 1])
CASES: list[tuple[Any, DeclaredKind | None]] = [
    (LogisticRegression(), DeclaredKind.CLASSIFIER),
    (make_pipeline(StandardScaler(), LinearRegression()), DeclaredKind.REGRESSOR),
    (IsolationForest(), DeclaredKind.OUTLIER_DETECTOR),
    (GridSearchCV(LinearRegression(), {}), DeclaredKind.REGRESSOR),
    (KMeans(2), None),
    (NamedRegressor(), DeclaredKind.REGRESSOR),
    (make_pipeline(StandardScaler(), NamedRegressor()), DeclaredKind.REGRESSOR),
    (make_pipeline(make_pipeline(NamedRegressor())), DeclaredKind.REGRESSOR),
    (LateTaggedClassifier(), DeclaredKind.CLASSIFIER),
    (make_pipeline(LateTaggedRegressor()), DeclaredKind.REGRESSOR),
    (LIKE_A_CLASSIFIER, DeclaredKind.CLASSIFIER),
    (PlainModel(), None),
    (SimpleNamespace(predict=len, _estimator_type=7), None),
    (SimpleNamespace(predict=len, steps=3, named_steps={}), None),
]


@pytest.mark.parametrize(("estimator", "kind"), CASES, ids=lambda value: type(value).__name__)
def test_the_kind_is_what_the_library_says(estimator: Any, kind: DeclaredKind | None) -> None:
    """Tags, `_estimator_type` and a classifier's interface count, alone and as the last step of a pipeline."""
    assert declared_kind(estimator) is kind


def test_the_last_estimator_predicts() -> None:
    """The last step of nested pipelines, and the best estimator of a search, of whichever library."""
    last = NamedRegressor()
    assert last_estimator(make_pipeline(StandardScaler(), make_pipeline(last))) is last
    assert last_estimator(SimpleNamespace(best_estimator_=last)) is last
    assert is_of_scikit_learn(KMeans(2))
    assert not is_of_scikit_learn(last)


def test_the_mixins_of_scikit_learn_are_the_remedy() -> None:
    """A class that `init` refuses is served once it is derived as the message says."""
    classifier = type("Own", (ClassifierMixin, BaseEstimator), {})()
    regressor = type("Own", (RegressorMixin, BaseEstimator), {})()
    assert (declared_kind(classifier), declared_kind(regressor)) == (DeclaredKind.CLASSIFIER, DeclaredKind.REGRESSOR)
