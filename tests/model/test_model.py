"""The model scores every row, and a failure costs only the rows on which it fails."""

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
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stillsafe.core.schema import Row
from stillsafe.model.confidence import ConfidenceMethod
from stillsafe.model.frame import frame
from stillsafe.model.load import load_model
from stillsafe.model.model import Model, ModelKind, classes_of, kind_of
from tests.model.models import PlainModel, features_of, model_of, write_reference
from tests.serving.services import FEATURES, GOOD, OLD, fitted_pipeline, pipeline, sample, save_model, settings_of

UNSEEN_TOWN: Row = {**GOOD, "town": "Atlantis"}


class ScriptedClassifier:
    """A classifier whose output a test sets."""

    def __init__(self, act: Callable[[Any], Any] | None = None, shares: Callable[[Any], Any] | None = None) -> None:
        self.act = act
        self.shares = shares
        self.calls: list[int] = []

    def predict(self, rows: Any) -> Any:
        """Predictions."""
        self.calls.append(len(rows))
        return self.act(rows) if self.act else np.full(len(rows), "no")

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities."""
        return self.shares(rows) if self.shares else np.tile([0.8, 0.2], (len(rows), 1))


def test_a_score_is_the_output_of_the_model(tmp_path: Path) -> None:
    """Prediction, confidence and probabilities are scikit-learn's own, row by row."""
    model = model_of(tmp_path, fitted_pipeline())
    scores = model.score([GOOD, OLD, {**GOOD, "town": None}])
    table = frame(model.features, [GOOD, OLD, {**GOOD, "town": None}])
    shares = model.estimator.predict_proba(table)
    assert [score.prediction for score in scores] == model.estimator.predict(table).tolist()
    assert [score.confidence for score in scores] == shares.max(axis=1).tolist()
    assert [score.probabilities for score in scores] == [dict(zip(["no", "yes"], row, strict=True)) for row in shares]
    assert {score.error for score in scores} == {None}
    assert model.score([]) == []


def test_a_row_on_which_the_model_raises_costs_only_itself(tmp_path: Path) -> None:
    """A real encoder that refuses an unseen category: the other rows keep their predictions."""
    model = model_of(tmp_path, fitted_pipeline(unknown="error"))
    scores = model.score([GOOD, UNSEEN_TOWN, OLD, GOOD, UNSEEN_TOWN])
    single_score = model.score([GOOD])[0]
    assert [score.error for score in scores] == [None, "raised ValueError", None, None, "raised ValueError"]
    assert scores[0].prediction == scores[3].prediction == single_score.prediction
    assert scores[0].confidence == pytest.approx(single_score.confidence, abs=1e-12)


def test_a_failing_row_is_isolated_by_halving(tmp_path: Path) -> None:
    """One failing row among many costs a few more calls, not one for each row."""

    def act(rows: Any) -> Any:
        if (rows["age"] > 100).any():
            raise RuntimeError("too old")
        return np.full(len(rows), "no")

    estimator = ScriptedClassifier(act)
    model = replace(model_of(tmp_path, fitted_pipeline()), estimator=estimator)
    scores = model.score([GOOD] * 200 + [{**GOOD, "age": 110.0}] + [GOOD] * 55)
    assert [number for number, score in enumerate(scores) if score.error] == [200]
    assert len(estimator.calls) <= 2 * math.ceil(math.log2(256)) + 1


def test_an_infinite_prediction_costs_only_its_own_row(tmp_path: Path) -> None:
    """A regressor whose inverse transformation overflows for one row still predicts the others."""
    regressor = TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp)
    estimator = pipeline(regressor).fit(sample(), np.exp(sample()["age"] / 30))
    write_reference(tmp_path, estimator)
    features = [{**FEATURES[0], "maximum": 1e9}, *FEATURES[1:]]
    settings = settings_of(save_model(estimator, tmp_path))
    model = load_model(settings.model_copy(update={"features": features_of(tmp_path, features)}))
    with np.errstate(over="ignore"):
        scores = model.score([GOOD, {**GOOD, "age": 1e8}, OLD])
    assert [score.error for score in scores] == [None, "not finite", None]
    assert model.kind is ModelKind.REGRESSOR
    assert isinstance(scores[0].prediction, float)
    assert scores[1].prediction is None


@pytest.mark.parametrize(
    ("estimator", "error"),
    [
        (ScriptedClassifier(lambda rows: np.full(len(rows) + 1, "no")), "wrong shape"),
        (ScriptedClassifier(lambda rows: np.full((len(rows), 2), "no")), "wrong shape"),
        (ScriptedClassifier(lambda _rows: None), "wrong shape"),
        (ScriptedClassifier(lambda rows: np.full(len(rows), "maybe")), "unknown class"),
        (ScriptedClassifier(lambda rows: np.full(len(rows), np.nan)), "not finite"),
        (ScriptedClassifier(shares=lambda rows: np.full((len(rows), 2), np.nan)), "not finite"),
        (ScriptedClassifier(shares=lambda rows: np.full((len(rows), 3), 0.3)), "wrong shape"),
        (ScriptedClassifier(shares=lambda rows: np.tile([7.0, -6.0], (len(rows), 1))), "not a probability"),
        (ScriptedClassifier(lambda _rows: sys.exit(1)), "raised SystemExit"),
        (ScriptedClassifier(lambda _rows: [][0]), "raised IndexError"),
    ],
)
def test_every_invalid_output_is_an_error(tmp_path: Path, estimator: ScriptedClassifier, error: str) -> None:
    """A prediction of the wrong shape, class or range never leaves the model."""
    model = replace(model_of(tmp_path, fitted_pipeline()), estimator=estimator)
    assert {score.error for score in model.score([GOOD, OLD])} == {error}
    assert {score.prediction for score in model.score([GOOD, OLD])} == {None}


def test_a_number_too_large_for_an_integer_costs_only_its_own_row(tmp_path: Path) -> None:
    """A whole number beyond 64 bits fits no column; the other rows' column is built without it."""
    model = model_of(tmp_path, fitted_pipeline())
    assert [score.error for score in model.score([GOOD, {**GOOD, "visits": 10**30}])] == [None, "raised OverflowError"]


def test_a_failure_is_logged_without_the_clients_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The exception's message may quote a value, so the log leaves it out."""
    model_of(tmp_path, fitted_pipeline(unknown="error")).score([UNSEEN_TOWN])
    assert "the model failed" in caplog.text
    assert not any("Atlantis" in str(vars(record)) for record in caplog.records)


def test_a_regressors_confidence_is_the_rank_of_its_members_spread(tmp_path: Path) -> None:
    """The pipeline transforms its inputs once, and the prediction stays the same."""
    estimator = pipeline(RandomForestRegressor(10, random_state=0)).fit(sample(), sample()["age"])
    write_reference(tmp_path, estimator)
    model = model_of(tmp_path, estimator)
    score = model.score([GOOD])[0]
    assert model.scale.method is ConfidenceMethod.ENSEMBLE_SPREAD
    assert score.prediction == estimator.predict(frame(model.features, [GOOD]))[0]


def test_what_is_neither_classifier_nor_regressor_is_refused() -> None:
    """A clusterer, a multi-label classifier and a transformer cannot be served."""
    numbers = sample()[["age"]]
    with pytest.raises(ValueError, match="neither a classifier nor a regressor"):
        kind_of(KMeans(2).fit(numbers))
    both = RandomForestClassifier(3).fit(numbers, np.array([[1, 0], [0, 1]] * 150))
    with pytest.raises(ValueError, match="must be strings, numbers"):
        classes_of(both)
    with pytest.raises(ValueError, match="makes no predictions"):
        kind_of(object())
    with pytest.raises(ValueError, match="PlainModel does not say that it is a classifier or a regressor"):
        kind_of(make_pipeline(StandardScaler(), PlainModel()))


def test_importing_the_model_is_cheap() -> None:
    """Commands that need no model do not wait for scikit-learn."""
    code = "import sys, stillsafe.model.load; print({'sklearn', 'pandas', 'skops', 'joblib'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "set()"


def _model_failing_above_100(folder: Path, error: BaseException) -> tuple[Model, ScriptedClassifier]:
    def act(rows: Any) -> Any:
        if (rows["age"] > 100).any():
            raise error
        return np.full(len(rows), "no")

    estimator = ScriptedClassifier(act)
    return replace(model_of(folder, fitted_pipeline()), estimator=estimator), estimator


def test_isolating_failing_rows_has_a_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand failing rows cost a limited number of calls and one log line; rows beyond the limit are marked."""
    model, estimator = _model_failing_above_100(tmp_path, RuntimeError("too old"))
    with caplog.at_level(logging.WARNING):
        scores = model.score([{**GOOD, "age": 110.0}] * 1000, 64)
    assert len(estimator.calls) == 1 + 2 * 64
    assert {score.error for score in scores} == {"not asked"}
    assert len(caplog.records) == 1


def test_at_the_limit_the_intact_parts_are_scored(tmp_path: Path) -> None:
    """Rows scored without a failing one keep their scores; with one halving per row only failing rows lose theirs."""
    model, _ = _model_failing_above_100(tmp_path, RuntimeError("too old"))
    rows = [{**GOOD, "age": 110.0}] + [GOOD] * 63
    assert [score.error for score in model.score(rows, 3)] == ["not asked"] * 8 + [None] * 56
    alternating_rows = [{**GOOD, "age": 110.0}, GOOD] * 32
    assert [score.error for score in model.score(alternating_rows, 64)] == ["raised RuntimeError", None] * 32


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseException("panic")])
def test_a_panic_costs_only_its_own_row(tmp_path: Path, error: BaseException) -> None:
    """A panic in a compiled library is not an `Exception`, but counts as a failure of its row."""
    model, _ = _model_failing_above_100(tmp_path, error)
    scores = model.score([GOOD, {**GOOD, "age": 110.0}])
    assert [score.error for score in scores] == [None, f"raised {type(error).__name__}"]
