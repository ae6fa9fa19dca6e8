"""A model is served compiled only where it answers as scikit-learn does, and it then answers exactly so."""

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
from stillsafe.model.compiled import equivalence
from stillsafe.model.compiled.equivalence import Differs
from stillsafe.model.compiled.predictors import CannotCompile, Compiled, compile_model
from stillsafe.model.model import Model, classes_of, frame, kind_of, load, scale_from
from tests.model.compiled.test_preprocessing import HEALTHY, SCHEMA, columns, imputed, rows
from tests.serving.services import document, fitted, saved, settings_of

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


def truth(last: Any, several: bool) -> Any:
    """Something to learn: a class, one of three, or a number."""
    scores = np.array([float(row["visits"] or 0) + (row["town"] == "Ulm") * 3 for row in HEALTHY])
    if not hasattr(last, "predict_proba") and not hasattr(last, "decision_function"):
        return scores
    return np.array(["low", "mid", "high"])[np.digitize(scores, [3, 7] if several else [5, 99])]


def served(last: Any, *, several: bool = False, unknown: str = "ignore") -> Model:
    """A model behind the usual steps."""
    steps = columns(imputed(StandardScaler()), imputed(OneHotEncoder(handle_unknown=unknown), "most_frequent"))
    return as_model(make_pipeline(steps, last).fit(frame(SCHEMA, HEALTHY), truth(last, several)))


def as_model(estimator: Any) -> Model:
    scale = scale_from(estimator, frame(SCHEMA, HEALTHY))
    return Model("1", kind_of(estimator), classes_of(estimator), SCHEMA, estimator, scale)


@pytest.mark.parametrize("last", LAST, ids=lambda last: type(last).__name__)
@pytest.mark.parametrize("several", [False, True])
def test_the_answers_are_scikit_learn_s(last: Any, several: bool) -> None:
    """Predictions, confidences and probabilities are the same; of trees, to the last bit."""
    model = served(last, several=several)
    fast = equivalence.compiled(model, {}, HEALTHY)
    assert fast.compiled is not None
    assert fast.compiled.proof is not None
    assert fast.compiled.proof.row_count > len(HEALTHY)
    if "Tree" in type(last).__name__ or "Forest" in type(last).__name__ or "Hist" in type(last).__name__:
        assert fast.compiled.proof.largest_difference == 0
        assert fast.compiled.proof.split_count > 0
        assert fast.score(HEALTHY) == model.score(HEALTHY)
        assert fast.score(HEALTHY[:1]) == model.score(HEALTHY[:1])
    assert fast.compiled.proof.largest_difference <= equivalence.TOLERANCE


BOOSTED = served(LAST[0], several=True, unknown="error")
BOOSTED_FAST = equivalence.compiled(BOOSTED, {})


@given(rows)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_row_gets_the_same_answer_or_the_same_error(row: Row) -> None:
    """Also rows that the pipeline refuses, alone and among others."""
    assert BOOSTED_FAST.score([row]) == BOOSTED.score([row])
    assert BOOSTED_FAST.score([HEALTHY[0], row, HEALTHY[1]]) == BOOSTED.score([HEALTHY[0], row, HEALTHY[1]])


def test_a_bare_model_on_named_columns() -> None:
    """An estimator without a pipeline gets its columns in its own order."""
    numbers = frame(SCHEMA, HEALTHY)[["visits", "age"]]
    for last in (HistGradientBoostingClassifier(max_iter=5), LogisticRegression()):
        filled = numbers.fillna(0)
        estimator = last.fit(filled, truth(last, several=False))
        schema = replace(SCHEMA, features=tuple(replace(spec, required=True) for spec in SCHEMA.features[:2]))
        model = Model("1", kind_of(estimator), classes_of(estimator), schema, estimator, scale_from(estimator, filled))
        asked: list[Row] = [{"age": float(a), "visits": int(v)} for v, a in filled.to_numpy()]
        fast = equivalence.compiled(model, {}, asked)
        assert fast.score(asked) == model.score(asked)


def test_categories_that_trees_split_themselves_are_not_compiled() -> None:
    """Boosting with its own encoder, and anybody else's estimator, are left to scikit-learn."""
    steps = columns("passthrough", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan))
    own = HistGradientBoostingClassifier(max_iter=5, categorical_features=[3, 4])
    model = as_model(make_pipeline(steps, own).fit(frame(SCHEMA, HEALTHY), truth(own, several=False)))
    with pytest.raises(CannotCompile):
        equivalence.compiled(model, {}, HEALTHY)
    strange = type("Mine", (LogisticRegression,), {})()
    with pytest.raises(CannotCompile, match="not scikit-learn's own"):
        equivalence.compiled(served(strange), {}, HEALTHY)


def tampered(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """From now on what is compiled answers a little otherwise."""

    def compiled(*given: Any) -> Compiled:
        made = compile_model(*given)
        return replace(made, evaluate=lambda matrix: change(made.evaluate, matrix))

    monkeypatch.setattr(equivalence, "compile_model", compiled)


def test_what_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probability that is off by a millionth, and a split on the wrong side of its threshold."""
    model = served(LAST[0])

    def off(evaluate: Any, matrix: Any) -> Any:
        answers, raw, probabilities = evaluate(matrix)
        return answers, raw, probabilities + 1e-6

    with monkeypatch.context() as patch:
        tampered(patch, off)
        with pytest.raises(Differs, match="scikit-learn"):
            equivalence.compiled(model, {}, HEALTHY)
    with monkeypatch.context() as patch:
        tampered(patch, lambda evaluate, matrix: evaluate(np.nextafter(matrix, np.inf)))
        with pytest.raises(Differs, match="where its trees split"):
            equivalence.compiled(model, {}, [])


def test_at_the_start_it_is_proven_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked for, it is served; where it no longer can be proven, scikit-learn serves and the log says why."""
    file = saved(fitted(), tmp_path)
    assert load(settings_of(file)).compiled is None
    wanted = settings_of(file, model={"compiled": True})
    assert load(wanted).compiled is not None
    tampered(monkeypatch, lambda evaluate, matrix: evaluate(matrix * 1.001))
    with caplog.at_level(logging.WARNING):
        assert load(wanted).compiled is None
    assert "not served compiled" in caplog.text
    assert document(file)["model"]["version"] == load(wanted).version
