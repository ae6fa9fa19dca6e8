"""A model is only served compiled if it predicts the same as scikit-learn."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC

from stillsafe.core.schema import Row
from stillsafe.init.conversion import equal_scores
from stillsafe.model.compiled import equivalence
from stillsafe.model.compiled.equivalence import OutputsDiffer
from stillsafe.model.compiled.predictors import CannotCompile, CompiledModel, compile_model
from stillsafe.model.confidence import scale_from
from stillsafe.model.frame import frame
from stillsafe.model.load import load_model
from stillsafe.model.model import Model, classes_of, kind_of
from stillsafe.model.reference import NO_REFERENCE
from tests.model.compiled.test_preprocessing import HEALTHY, SCHEMA, columns, impute, rows
from tests.serving.services import document, fitted_pipeline, save_model, settings_of

LAST: list[Any] = [
    HistGradientBoostingClassifier(max_iter=30, random_state=1),
    HistGradientBoostingRegressor(max_iter=30, random_state=1),
    HistGradientBoostingRegressor(max_iter=30, loss="poisson", random_state=1),
    RandomForestClassifier(15, random_state=1),
    ExtraTreesClassifier(15, random_state=1),
    RandomForestRegressor(15, random_state=1),
    ExtraTreesRegressor(15, random_state=1),
    LogisticRegression(),
    LinearSVC(),
    Ridge(),
    GradientBoostingClassifier(n_estimators=20, random_state=1),
    KNeighborsClassifier(5),
    CalibratedClassifierCV(LinearSVC()),
]


def targets(last: Any, several: bool) -> Any:
    """Targets: two classes, three classes, or numbers."""
    scores = np.array([float(row["visits"] or 0) + (row["town"] == "Ulm") * 3 for row in HEALTHY])
    if not hasattr(last, "predict_proba") and not hasattr(last, "decision_function"):
        return scores
    return np.array(["low", "mid", "high"])[np.digitize(scores, [3, 7] if several else [5, 99])]


def fitted_model(last: Any, *, several: bool = False, unknown: str = "ignore") -> Model:
    """A model behind common preprocessing steps."""
    steps = columns(impute(StandardScaler()), impute(OneHotEncoder(handle_unknown=unknown), "most_frequent"))
    return as_model(make_pipeline(steps, last).fit(frame(SCHEMA, HEALTHY), targets(last, several)))


def as_model(estimator: Any) -> Model:
    scale = scale_from(estimator, frame(SCHEMA, HEALTHY))
    return Model("1", kind_of(estimator), classes_of(estimator), SCHEMA, estimator, scale)


@pytest.mark.parametrize("last", LAST, ids=lambda last: type(last).__name__)
@pytest.mark.parametrize("several", [False, True])
def test_the_predictions_are_those_of_scikit_learn(last: Any, several: bool) -> None:
    """Predictions, confidences and probabilities are the same; for trees, to the last bit."""
    model = fitted_model(last, several=several)
    fast = equivalence.compile_verified(model, NO_REFERENCE, HEALTHY)
    assert fast.compiled is not None
    assert fast.compiled.equivalence is not None
    assert fast.compiled.equivalence.row_count > len(HEALTHY)
    if "Tree" in type(last).__name__ or "Forest" in type(last).__name__ or "Hist" in type(last).__name__:
        assert fast.compiled.equivalence.largest_difference == 0
        assert fast.compiled.equivalence.split_count > 0
        assert fast.score(HEALTHY) == model.score(HEALTHY)
        assert fast.score(HEALTHY[:1]) == model.score(HEALTHY[:1])
    assert fast.compiled.equivalence.largest_difference <= equivalence.TOLERANCE


BOOSTING = fitted_model(LAST[0], several=True, unknown="error")
COMPILED_BOOSTING = equivalence.compile_verified(BOOSTING, NO_REFERENCE)


@given(rows)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_row_gets_the_same_score(row: Row) -> None:
    """The score or error is the same, for a single row and for a row among others."""
    assert COMPILED_BOOSTING.score([row]) == BOOSTING.score([row])
    assert COMPILED_BOOSTING.score([HEALTHY[0], row, HEALTHY[1]]) == BOOSTING.score([HEALTHY[0], row, HEALTHY[1]])


def test_a_bare_model_on_named_columns() -> None:
    """An estimator without a pipeline gets its columns in its own order."""
    numbers = frame(SCHEMA, HEALTHY)[["visits", "age"]]
    for last in (HistGradientBoostingClassifier(max_iter=5), LogisticRegression()):
        complete_numbers = numbers.fillna(0)
        estimator = last.fit(complete_numbers, targets(last, several=False))
        schema = replace(SCHEMA, features=tuple(replace(spec, required=True) for spec in SCHEMA.features[:2]))
        model = Model(
            "1", kind_of(estimator), classes_of(estimator), schema, estimator, scale_from(estimator, complete_numbers)
        )
        few_rows: list[Row] = [{"age": float(a), "visits": int(v)} for v, a in complete_numbers.to_numpy()]
        fast = equivalence.compile_verified(model, NO_REFERENCE, few_rows)
        assert all(map(equal_scores, fast.score(few_rows), model.score(few_rows)))  # old versions add in another order


def test_categories_that_trees_split_themselves_are_not_compiled() -> None:
    """Boosting with its own encoder, and an estimator of another package, are left to scikit-learn."""
    steps = columns("passthrough", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan))
    own = HistGradientBoostingClassifier(max_iter=5, categorical_features=[3, 4])
    model = as_model(make_pipeline(steps, own).fit(frame(SCHEMA, HEALTHY), targets(own, several=False)))
    with pytest.raises(CannotCompile):
        equivalence.compile_verified(model, NO_REFERENCE, HEALTHY)
    custom = type("Mine", (LogisticRegression,), {})()
    with pytest.raises(CannotCompile, match="not part of scikit-learn"):
        equivalence.compile_verified(fitted_model(custom), NO_REFERENCE, HEALTHY)


def change_output(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Make every compiled model predict something slightly different."""

    def compile_and_change(*arguments: Any) -> CompiledModel:
        compiled = compile_model(*arguments)
        return replace(compiled, evaluate=lambda matrix: change(compiled.evaluate, matrix))

    monkeypatch.setattr(equivalence, "compile_model", compile_and_change)


def test_a_model_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probability that is off by a millionth, and a split on the wrong side of its threshold."""
    model = fitted_model(LAST[0])

    def off(evaluate: Any, matrix: Any) -> Any:
        predictions, raw, probabilities = evaluate(matrix)
        return predictions, raw, probabilities + 1e-6

    with monkeypatch.context() as patch:
        change_output(patch, off)
        with pytest.raises(OutputsDiffer, match="scikit-learn"):
            equivalence.compile_verified(model, NO_REFERENCE, HEALTHY)
    with monkeypatch.context() as patch:
        change_output(patch, lambda evaluate, matrix: evaluate(np.nextafter(matrix, np.inf)))
        with pytest.raises(OutputsDiffer, match="at the thresholds of its trees"):
            equivalence.compile_verified(model, NO_REFERENCE, [])


def test_loading_repeats_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A compiled model that passes is served; if it differs, scikit-learn predicts and the log has the reason."""
    file = save_model(fitted_pipeline(), tmp_path)
    assert load_model(settings_of(file)).compiled is None
    compiled_settings = settings_of(file, model={"compiled": True})
    assert load_model(compiled_settings).compiled is not None
    change_output(monkeypatch, lambda evaluate, matrix: evaluate(matrix * 1.001))
    with caplog.at_level(logging.WARNING):
        assert load_model(compiled_settings).compiled is None
    assert "not served compiled" in caplog.text
    assert document(file)["model"]["version"] == load_model(compiled_settings).version
