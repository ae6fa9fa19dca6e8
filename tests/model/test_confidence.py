"""Confidence is a probability if the model has one, else a rank among healthy scores."""

from typing import Any

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
    VotingRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from stillsafe.model.confidence import (
    ConfidenceMethod,
    ConfidenceScale,
    answer_probability,
    choose_method,
    raw_confidence,
    scale_from,
)
from tests.model.models import BareClassifier

X, Y = make_regression(200, 4, noise=5, random_state=0)
XC, YC = make_classification(200, 4, n_informative=3, n_redundant=0, n_classes=3, random_state=0)
FOREST = RandomForestRegressor(10, random_state=0)


class SharedMethods(LinearRegression):  # type: ignore[misc] # scikit-learn has no types
    """A regressor with what its library wrote for its classifiers."""

    classes_ = None

    def predict_proba(self, _rows: Any) -> Any:
        """No regressor can."""
        raise TypeError

    decision_function = predict_proba


@pytest.mark.parametrize(
    ("estimator", "method"),
    [
        (SharedMethods(), ConfidenceMethod.PREDICTION_TYPICALITY),
        (make_pipeline(StandardScaler(), SharedMethods()), ConfidenceMethod.PREDICTION_TYPICALITY),
        (LinearRegression(), ConfidenceMethod.PREDICTION_TYPICALITY),
        (HistGradientBoostingRegressor(max_iter=5), ConfidenceMethod.PREDICTION_TYPICALITY),
        (GradientBoostingRegressor(n_estimators=5), ConfidenceMethod.PREDICTION_TYPICALITY),
        (FOREST, ConfidenceMethod.ENSEMBLE_SPREAD),
        (BaggingRegressor(Ridge(), 5, max_features=2, random_state=0), ConfidenceMethod.ENSEMBLE_SPREAD),
        (VotingRegressor([("a", Ridge()), ("b", FOREST)]), ConfidenceMethod.ENSEMBLE_SPREAD),
        (make_pipeline(StandardScaler(), FOREST), ConfidenceMethod.ENSEMBLE_SPREAD),
        (TransformedTargetRegressor(make_pipeline(StandardScaler(), FOREST)), ConfidenceMethod.ENSEMBLE_SPREAD),
        (GridSearchCV(FOREST, {"max_depth": [2]}, cv=2), ConfidenceMethod.ENSEMBLE_SPREAD),
    ],
)
def test_a_regressor_gets_the_best_method_that_it_supports(estimator: Any, method: ConfidenceMethod) -> None:
    """Agreement of the members if each predicts the target, else typicality of the prediction."""
    model = estimator.fit(X, Y)
    scale = scale_from(model, X)
    confidence = scale.confidence(raw_confidence(model, X)[1])
    assert choose_method(model) is scale.method is method
    assert len(scale.quantiles) == 101
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert 0.4 < confidence.mean() < 0.6


def test_a_classifier_without_probabilities_gets_the_rank_of_its_margin() -> None:
    """The wider the margin, binary or not, the higher the confidence."""
    for classes in (YC, YC > 0):
        model = LinearSVC().fit(XC, classes)
        method, raw = raw_confidence(model, XC)
        confidence = scale_from(model, XC).confidence(raw)
        assert method is ConfidenceMethod.MARGIN_RANK
        assert (raw >= 0).all()
        assert (np.diff(confidence[np.argsort(raw)]) >= 0).all()
    assert choose_method(RidgeClassifier().fit(XC, YC)) is ConfidenceMethod.MARGIN_RANK


def test_a_probability_is_its_own_confidence() -> None:
    """The top class's probability, untouched, and no scale; the confidence is that of the answer."""
    model = LogisticRegression().fit(XC, YC)
    scale = scale_from(model, XC)
    assert scale == ConfidenceScale(ConfidenceMethod.CLASS_PROBABILITY, of_answer=True)
    expected = model.predict_proba(XC).max(axis=1)
    np.testing.assert_array_equal(scale.confidence(raw_confidence(model, XC)[1]), expected)


def test_a_classifier_with_neither_is_refused() -> None:
    """A model without probabilities, margins and votes has no confidence, so it cannot be served."""
    with pytest.raises(ValueError, match="neither probabilities nor margins"):
        choose_method(BareClassifier().fit(XC, YC))


def test_an_answer_has_its_own_probability() -> None:
    """An answer against the likeliest class has its own probability; one that is no class, the largest."""
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.3, 0.7]])
    confidences = answer_probability(np.array(["no", "yes", "other"]), probabilities, ("no", "yes"))
    assert confidences.tolist() == [0.8, 0.2, 0.7]


def test_agreement_and_typicality_give_the_highest_confidence() -> None:
    """Equal members rank above spread ones; the healthy median ranks above the tails."""
    steps = tuple(float(q) for q in range(101))
    spread = ConfidenceScale(ConfidenceMethod.ENSEMBLE_SPREAD, steps)
    assert spread.confidence(np.array([0.0, 50.0, 100.0, 900.0])).tolist() == [1.0, 0.5, 0.0, 0.0]
    typicality = ConfidenceScale(ConfidenceMethod.PREDICTION_TYPICALITY, steps)
    np.testing.assert_allclose(typicality.confidence(np.array([50.0, 75.0, 25.0, 100.0, -7.0])), [1, 0.5, 0.5, 0, 0])


def test_equal_healthy_scores_share_the_mean_of_their_ranks() -> None:
    """A score that many healthy rows share is neither the best nor the worst."""
    scale = ConfidenceScale(ConfidenceMethod.MARGIN_RANK, (3.0,) * 101)
    assert scale.confidence(np.array([2.0, 3.0, 4.0])).tolist() == [0.0, 0.5, 1.0]


def test_a_missing_score_gives_no_confidence() -> None:
    """NaN stays NaN, so that the row fails instead of getting a number."""
    for method in list(ConfidenceMethod)[1:]:
        scale = ConfidenceScale(method, tuple(float(q) for q in range(101)))
        assert np.isnan(scale.confidence(np.array([np.nan]))).all()
