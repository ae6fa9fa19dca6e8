"""Each supported estimator is evaluated on a matrix as scikit-learn does, and its thresholds are known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema
from stillsafe.model.compiled.predictors import (
    CannotCompile,
    compile_model,
    predict_raw,
    predict_raw_matrix,
    thresholds,
)
from stillsafe.model.compiled.trees import FEW
from stillsafe.model.confidence import ConfidenceMethod

SCHEMA = Schema(tuple(FeatureSpec(name, FeatureType.NUMERIC) for name in ("x", "y")))
MATRIX = np.random.default_rng(6).normal(size=(200, 2))
CLASSES = np.where(MATRIX.sum(axis=1) > 0, "high", "low")
ROWS: list[Row] = [{"x": x, "y": y} for x, y in MATRIX.tolist()]
TREES: list[Any] = [
    HistGradientBoostingClassifier(max_iter=5).fit(MATRIX, CLASSES),
    HistGradientBoostingRegressor(max_iter=5).fit(MATRIX, MATRIX.sum(axis=1)),
    RandomForestClassifier(5, random_state=0).fit(MATRIX, CLASSES),
    ExtraTreesRegressor(5, random_state=0).fit(MATRIX, MATRIX.sum(axis=1)),
]


@pytest.mark.parametrize("estimator", TREES, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.parametrize("count", [1, FEW, FEW + 1])
def test_few_and_many_rows_give_scikit_learns_output(estimator: Any, count: int) -> None:
    """The evaluation of all trees at once and the one tree by tree agree with scikit-learn to the bit."""
    compiled = compile_model(estimator, SCHEMA)
    predictions, raw, probabilities = compiled(ROWS[:count])
    plain_predictions, plain_raw, plain_probabilities = predict_raw_matrix(estimator, MATRIX[:count])
    np.testing.assert_array_equal(predictions, plain_predictions)
    for output, plain in ((raw, plain_raw), (probabilities, plain_probabilities)):
        if hasattr(estimator, "classes_") or "Extra" in type(estimator).__name__:
            assert (output is None) == (plain is None)
            np.testing.assert_array_equal(output, plain)
    assert compiled.equivalence is None


@pytest.mark.parametrize("estimator", TREES, ids=lambda estimator: type(estimator).__name__)
def test_thresholds_are_those_of_the_trees(estimator: Any) -> None:
    """Each threshold belongs to a column of the matrix and lies within the training values."""
    columns, values = thresholds(estimator)
    assert len(columns) == len(values) > 0
    assert set(columns.tolist()) == {0, 1}
    assert MATRIX.min() < values.min() < values.max() < MATRIX.max()


def test_an_estimator_without_trees_has_no_thresholds() -> None:
    """It is evaluated by scikit-learn itself, without a data frame."""
    estimator = LogisticRegression().fit(MATRIX, CLASSES)
    assert [len(part) for part in thresholds(estimator)] == [0, 0]
    predictions, raw, probabilities = compile_model(estimator, SCHEMA)(ROWS)
    assert raw is None
    np.testing.assert_array_equal(predictions, estimator.predict(MATRIX))
    np.testing.assert_array_equal(probabilities, estimator.predict_proba(MATRIX))


def test_raw_output_holds_probabilities_or_raw_confidence() -> None:
    """A classifier with margins has a raw confidence; column names are passed on if the estimator has them."""
    frame = pd.DataFrame(MATRIX, columns=["x", "y"])
    estimator = LinearSVC().fit(frame, CLASSES)
    predictions, raw, probabilities = predict_raw(estimator, frame, ConfidenceMethod.MARGIN_RANK, classifies=True)
    assert probabilities is None
    np.testing.assert_array_equal(raw, np.abs(estimator.decision_function(frame)))
    np.testing.assert_array_equal(predict_raw_matrix(estimator, MATRIX)[0], predictions)


def test_unsupported_estimators_are_refused() -> None:
    """Boosting with categories, a forest of one tree and a pipeline without column names are left to scikit-learn."""
    labels = MATRIX[:, 0] > 0
    whole = np.abs(MATRIX).round()
    boosting = HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(whole, labels)
    with pytest.raises(CannotCompile, match="categorical features"):
        compile_model(boosting, SCHEMA)
    with pytest.raises(CannotCompile, match="one tree"):
        compile_model(RandomForestClassifier(1).fit(MATRIX, labels), SCHEMA)
    with pytest.raises(CannotCompile, match="no names for its input columns"):
        compile_model(make_pipeline("passthrough", LogisticRegression()).fit(MATRIX, labels), SCHEMA)
