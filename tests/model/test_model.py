"""The model: fitted to the schema before it serves, and asked so that a failure costs only its own rows."""

import json
import logging
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from stillsafe.core.schema import Row, Schema
from stillsafe.errors import ModelError
from stillsafe.model.confidence import ConfidenceMethod, scale_from
from stillsafe.model.model import (
    Model,
    ModelKind,
    as_text,
    classes_of,
    frame,
    inputs_of,
    kind_of,
    load,
    unbearable_gaps,
)
from tests.serving.services import FEATURES, GOOD, OLD, fitted, pipeline, sample, saved, settings_of

STRANGE: Row = {**GOOD, "town": "Atlantis"}


def _model(folder: Path, estimator: Any, **sections: Any) -> Model:
    return load(settings_of(saved(estimator, folder), **sections))


def _reference(folder: Path, estimator: Any) -> None:
    scale = scale_from(estimator, sample())
    document = {"baseline": {}, "confidence": {"method": scale.method.value, "quantiles": scale.quantiles}}
    (folder / "reference.json").write_text(json.dumps(document))


class Scripted:
    """A classifier that does what a test says."""

    def __init__(self, act: Callable[[Any], Any] | None = None, shares: Callable[[Any], Any] | None = None) -> None:
        self.act = act
        self.shares = shares
        self.calls: list[int] = []

    def predict(self, rows: Any) -> Any:
        """Answers."""
        self.calls.append(len(rows))
        return self.act(rows) if self.act else np.full(len(rows), "no")

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities."""
        return self.shares(rows) if self.shares else np.tile([0.8, 0.2], (len(rows), 1))


def test_a_score_is_what_the_model_says(tmp_path: Path) -> None:
    """Prediction, confidence and probabilities are scikit-learn's own, row by row."""
    model = _model(tmp_path, fitted())
    scores = model.score([GOOD, OLD, {**GOOD, "town": None}])
    table = frame(model.features, [GOOD, OLD, {**GOOD, "town": None}])
    shares = model.estimator.predict_proba(table)
    assert [score.prediction for score in scores] == model.estimator.predict(table).tolist()
    assert [score.confidence for score in scores] == shares.max(axis=1).tolist()
    assert [score.probabilities for score in scores] == [dict(zip(["no", "yes"], row, strict=True)) for row in shares]
    assert {score.error for score in scores} == {None}
    assert model.score([]) == []


def test_a_row_on_which_the_model_raises_costs_only_itself(tmp_path: Path) -> None:
    """A real encoder that refuses an unseen category: every neighbour gets the answer that it gets alone."""
    model = _model(tmp_path, fitted(unknown="error"))
    scores = model.score([GOOD, STRANGE, OLD, GOOD, STRANGE])
    alone = model.score([GOOD])[0]
    assert [score.error for score in scores] == [None, "raised ValueError", None, None, "raised ValueError"]
    assert scores[0].prediction == scores[3].prediction == alone.prediction
    assert scores[0].confidence == pytest.approx(alone.confidence, abs=1e-12)


def test_a_bad_row_is_found_by_halves(tmp_path: Path) -> None:
    """One bad row among many costs a few more calls, not one for each row."""

    def act(rows: Any) -> Any:
        if (rows["age"] > 100).any():
            raise RuntimeError("too old")
        return np.full(len(rows), "no")

    scripted = Scripted(act)
    model = replace(_model(tmp_path, fitted()), estimator=scripted)
    scores = model.score([GOOD] * 200 + [{**GOOD, "age": 110.0}] + [GOOD] * 55)
    assert [number for number, score in enumerate(scores) if score.error] == [200]
    assert len(scripted.calls) <= 2 * math.ceil(math.log2(256)) + 1


def test_an_infinite_answer_costs_only_its_own_row(tmp_path: Path) -> None:
    """A regressor whose inverse transformation overflows for one row still answers the others."""
    curved = TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp)
    estimator = pipeline(curved).fit(sample(), np.exp(sample()["age"] / 30))
    _reference(tmp_path, estimator)
    features = [{**FEATURES[0], "maximum": 1e9}, *FEATURES[1:]]
    model = load(settings_of(saved(estimator, tmp_path)).model_copy(update={"features": _features(tmp_path, features)}))
    with np.errstate(over="ignore"):
        scores = model.score([GOOD, {**GOOD, "age": 1e8}, OLD])
    assert [score.error for score in scores] == [None, "not finite", None]
    assert model.kind is ModelKind.REGRESSOR
    assert isinstance(scores[0].prediction, float)
    assert scores[1].prediction is None


def _features(folder: Path, features: list[dict[str, Any]]) -> Any:
    from stillsafe.settings import parse
    from tests.serving.services import document

    written = document(folder / "model.skops") | {"features": features}
    return parse(written, folder=folder).features


@pytest.mark.parametrize(
    ("scripted", "error"),
    [
        (Scripted(lambda rows: np.full(len(rows) + 1, "no")), "wrong shape"),
        (Scripted(lambda rows: np.full((len(rows), 2), "no")), "wrong shape"),
        (Scripted(lambda _rows: None), "wrong shape"),
        (Scripted(lambda rows: np.full(len(rows), "maybe")), "unknown class"),
        (Scripted(lambda rows: np.full(len(rows), np.nan)), "not finite"),
        (Scripted(shares=lambda rows: np.full((len(rows), 2), np.nan)), "not finite"),
        (Scripted(shares=lambda rows: np.full((len(rows), 3), 0.3)), "wrong shape"),
        (Scripted(shares=lambda rows: np.tile([7.0, -6.0], (len(rows), 1))), "not a probability"),
        (Scripted(lambda _rows: sys.exit(1)), "raised SystemExit"),
        (Scripted(lambda _rows: [][0]), "raised IndexError"),
    ],
)
def test_whatever_a_model_does_is_an_error_in_words(tmp_path: Path, scripted: Scripted, error: str) -> None:
    """No answer that cannot be one leaves the model."""
    model = replace(_model(tmp_path, fitted()), estimator=scripted)
    assert {score.error for score in model.score([GOOD, OLD])} == {error}
    assert {score.prediction for score in model.score([GOOD, OLD])} == {None}


def test_a_number_too_large_for_an_integer_costs_only_its_own_row(tmp_path: Path) -> None:
    """A whole number beyond 64 bits fits no column; the neighbours' column is built without it."""
    model = _model(tmp_path, fitted())
    assert [score.error for score in model.score([GOOD, {**GOOD, "visits": 10**30}])] == [None, "raised OverflowError"]


def test_a_failure_is_logged_without_the_clients_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The exception's message may quote a value, so it is not written down."""
    _model(tmp_path, fitted(unknown="error")).score([STRANGE])
    assert "the model failed" in caplog.text
    assert not any("Atlantis" in str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(("last", "kind"), [(LinearSVC(), "margin_rank"), (LogisticRegression(), "class_probability")])
def test_a_scale_is_read_from_the_reference_file(tmp_path: Path, last: Any, kind: str) -> None:
    """A model without probabilities is served with the scale that `init` wrote."""
    estimator = fitted(last)
    _reference(tmp_path, estimator)
    model = _model(tmp_path, estimator)
    score = model.score([GOOD])[0]
    assert model.scale.method.value == kind
    assert score.confidence is not None
    assert 0 <= score.confidence <= 1
    assert (score.probabilities is None) == (kind == "margin_rank")


def test_a_forest_answers_as_one_thread(tmp_path: Path) -> None:
    """Threads would cost a small request more than they gain; the answers are the same."""
    model = _model(tmp_path, fitted(RandomForestClassifier(10, n_jobs=-1, random_state=0)))
    assert model.estimator.steps[-1][1].n_jobs == 1
    assert model.score([GOOD])[0].prediction == "no"


def test_a_regressors_confidence_is_the_rank_of_its_members_spread(tmp_path: Path) -> None:
    """The pipeline is transformed once, and the answer is still the pipeline's own."""
    estimator = pipeline(RandomForestRegressor(10, random_state=0)).fit(sample(), sample()["age"])
    _reference(tmp_path, estimator)
    model = _model(tmp_path, estimator)
    score = model.score([GOOD])[0]
    assert model.scale.method is ConfidenceMethod.ENSEMBLE_SPREAD
    assert score.prediction == estimator.predict(frame(model.features, [GOOD]))[0]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "needs a scale, which the reference file lacks"),
        ("{}", "needs a scale"),
        ("[1]", "needs a scale"),
        ('{"confidence": {"method": "margin_rank", "quantiles": [1, 2]}}', "not 101 increasing numbers"),
        ('{"confidence": {"method": "ensemble_spread", "quantiles": []}}', "needs a scale"),
        ("{", "not a reference file"),
    ],
)
def test_a_rank_without_a_healthy_scale_is_refused(tmp_path: Path, document: str | None, said: str) -> None:
    """A confidence that means nothing is worse than none; the remedy is named."""
    if document is not None:
        (tmp_path / "reference.json").write_text(document)
    with pytest.raises(ModelError, match=said) as caught:
        _model(tmp_path, fitted(LinearSVC()))
    assert "stillsafe init" in caught.value.remedy


def test_a_model_that_does_not_fit_the_schema_is_refused(tmp_path: Path) -> None:
    """Features that either side lacks are named, before anything is served."""
    renamed = [{**FEATURES[0], "name": "years"}, *FEATURES[1:]]
    settings = settings_of(saved(fitted(), tmp_path)).model_copy(update={"features": _features(tmp_path, renamed)})
    with pytest.raises(ModelError, match="settings lack 'age' and the model was not fitted with 'years'"):
        load(settings)


def test_a_model_fitted_on_bare_arrays_is_counted(tmp_path: Path) -> None:
    """Without names, the number of features decides, and the order is the schema's."""
    numbers = sample()[["age", "visits"]].to_numpy()
    estimator = LogisticRegression().fit(numbers, numbers[:, 0] > 50)
    settings = settings_of(saved(estimator, tmp_path))
    with pytest.raises(ModelError, match="fitted with 2 features, and the settings describe 4"):
        load(settings)
    model = load(settings.model_copy(update={"features": settings.features[:2]}))
    assert [score.prediction for score in model.score([GOOD, OLD])] == [False, True]
    assert model.classes == (False, True)
    assert list(model.score([GOOD])[0].probabilities or ()) == ["false", "true"]


def test_a_model_that_fails_on_a_healthy_row_is_refused(tmp_path: Path) -> None:
    """The reference's own most frequent values are tried before anybody else's are."""
    numbers = {name: {"minimum": 20} for name in ("age", "visits")}
    seen = {**numbers, "town": {"category_counts": {"Rome": 3, "Oslo": 1}}}
    (tmp_path / "reference.json").write_text(json.dumps({"baseline": {"features": seen}}))
    with pytest.raises(ModelError, match="on a typical row its answer is: raised ValueError"):
        _model(tmp_path, fitted(unknown="error"))
    with pytest.raises(ModelError, match="not fitted"):
        _model(tmp_path, pipeline(LogisticRegression()))


def test_a_gap_that_the_model_cannot_bear_is_named(tmp_path: Path) -> None:
    """A feature that may be missing, though the model fails without it, is known before a client finds out."""
    model = _model(tmp_path, fitted())
    optional = Schema(tuple(replace(spec, required=False) for spec in model.features.features))
    assert unbearable_gaps(model, {}) == []
    assert unbearable_gaps(replace(model, features=optional), {}) == ["age", "visits", "member"]


def test_what_is_neither_classifier_nor_regressor_is_refused() -> None:
    """A clusterer, a multi-label classifier and a transformer have no place here."""
    numbers = sample()[["age"]]
    with pytest.raises(ValueError, match="neither a classifier nor a regressor"):
        kind_of(KMeans(2).fit(numbers))
    both = RandomForestClassifier(3).fit(numbers, np.array([[1, 0], [0, 1]] * 150))
    with pytest.raises(ValueError, match="must be strings, numbers"):
        classes_of(both)
    with pytest.raises(ValueError, match="makes no predictions"):
        kind_of(object())


def test_columns_come_in_the_models_own_order(tmp_path: Path) -> None:
    """The settings may list the features in another order than the model learnt them."""
    model = _model(tmp_path, fitted())
    turned = replace(model, features=Schema(model.features.features[::-1]))
    assert inputs_of(model.estimator, frame(turned.features, [GOOD])).columns.tolist() == [*GOOD]
    assert turned.score([GOOD]) == model.score([GOOD])


def test_an_answer_is_written_as_json_writes_it() -> None:
    """The log and a baseline's counts use one text for one answer."""
    assert [as_text(answer) for answer in ("a", True, 3, 0.1)] == ["a", "true", "3", "0.1"]


def test_importing_the_model_is_cheap() -> None:
    """Commands that touch no model do not wait for scikit-learn."""
    code = "import sys, stillsafe.model.model; print({'sklearn', 'pandas', 'skops', 'joblib'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def _refusing_the_old(folder: Path, error: BaseException) -> tuple[Model, Scripted]:
    def act(rows: Any) -> Any:
        if (rows["age"] > 100).any():
            raise error
        return np.full(len(rows), "no")

    scripted = Scripted(act)
    return replace(_model(folder, fitted()), estimator=scripted), scripted


def test_the_search_for_bad_rows_has_a_budget(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand bad rows cost a bounded number of calls and one line of the log; who was not asked is told."""
    model, scripted = _refusing_the_old(tmp_path, RuntimeError("too old"))
    with caplog.at_level(logging.WARNING):
        scores = model.score([{**GOOD, "age": 110.0}] * 1000, 64)
    assert len(scripted.calls) == 1 + 2 * 64
    assert {score.error for score in scores} == {"not asked"}
    assert len(caplog.records) == 1


def test_a_spent_budget_still_answers_the_good_parts(tmp_path: Path) -> None:
    """Rows that were asked without a bad one are answered; with a halving for each row all but the bad ones are."""
    model, _ = _refusing_the_old(tmp_path, RuntimeError("too old"))
    rows = [{**GOOD, "age": 110.0}] + [GOOD] * 63
    assert [score.error for score in model.score(rows, 3)] == ["not asked"] * 8 + [None] * 56
    mixed = [{**GOOD, "age": 110.0}, GOOD] * 32
    assert [score.error for score in model.score(mixed, 64)] == ["raised RuntimeError", None] * 32


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseException("panic")])
def test_a_panic_costs_only_its_own_row(tmp_path: Path, error: BaseException) -> None:
    """A compiled library's panic is no Exception, and is a failure on a row all the same."""
    model, _ = _refusing_the_old(tmp_path, error)
    scores = model.score([GOOD, {**GOOD, "age": 110.0}])
    assert [score.error for score in scores] == [None, f"raised {type(error).__name__}"]
