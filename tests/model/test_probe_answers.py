"""Answers for synthetic rows: equal within rounding, and different where a class, a failure or a number differs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression

from stillsafe.core.schema import Schema
from stillsafe.model.confidence import scale_from
from stillsafe.model.model import Model, ModelKind
from stillsafe.model.probe_answers import PROBE_ROWS, TOLERANCE, answers_again, compare, probe_answers
from stillsafe.model.reference import NO_REFERENCE, ProbeAnswers, Reference, read_reference
from tests.model.models import model_of
from tests.serving.services import fitted_pipeline, sample

ANSWERS = ProbeAnswers(("x",), ((1.0,), (2.0,)), ("no", "yes"), (0.75, 0.5), ((0.75, 0.25), (0.5, 0.5)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A classifier with numbers, a boolean and categories."""
    return model_of(tmp_path_factory.mktemp("model"), fitted_pipeline())


def test_the_same_model_answers_the_same(model: Model, tmp_path: Path) -> None:
    """Written to a file and read back, the answers are those of the model, exactly."""
    probes = probe_answers(model, NO_REFERENCE)
    (tmp_path / "reference.json").write_text(Reference(probes=probes).to_json())
    stored = read_reference(tmp_path / "reference.json").probes
    assert stored == probes
    change = compare(probes, answers_again(model, probes))
    assert (change.row_count, change.changed_count, change.largest_difference) == (PROBE_ROWS, 0, 0.0)


def test_the_rows_fit_the_schema_and_are_none_of_the_sample(model: Model) -> None:
    """Every row passes the schema's limits, whatever the seed; no row is one of the sample."""
    probes = probe_answers(model, NO_REFERENCE)
    rows = [dict(zip(probes.names, row, strict=True)) for row in probes.rows]
    assert all(model.features.validate(row) == row for row in rows)
    assert len(set(probes.rows)) > PROBE_ROWS // 2
    known_rows = {tuple(row) for row in sample().itertuples(index=False)}
    assert not known_rows & set(probes.rows)


@pytest.mark.parametrize(
    "other",
    [LogisticRegression(C=0.01), RandomForestClassifier(9, random_state=0), LogisticRegression(fit_intercept=False)],
)
def test_another_model_answers_otherwise(model: Model, other: Any) -> None:
    """A model that was fitted in another way is not taken for the same."""
    probes = probe_answers(model, NO_REFERENCE)
    assert compare(probes, answers_again(replace(model, estimator=fitted_pipeline(other)), probes)).changed_count > 0


def test_a_model_that_fails_here_has_changed(model: Model) -> None:
    """A row on which the model failed only now differs; one on which it always failed does not."""

    class Failing:
        def predict(self, _table: Any) -> Any:
            raise AttributeError

    probes = probe_answers(model, NO_REFERENCE)
    failure = answers_again(replace(model, estimator=Failing(), compiled=None), probes)
    assert set(failure.predictions) == {None}
    assert compare(probes, failure).changed_count == PROBE_ROWS
    assert compare(failure, failure).changed_count == 0


def test_a_regressor_is_compared_by_its_numbers(tmp_path: Path) -> None:
    """A number may differ by rounding relative to its size, and by no more."""
    table = sample()[["age", "visits"]]
    regressor = RandomForestRegressor(5, random_state=0).fit(table.to_numpy(), 1e6 * table["age"])
    scale = scale_from(regressor, table.to_numpy())
    features = Schema(model_of(tmp_path, fitted_pipeline()).features.features[:2])
    probes = probe_answers(Model("v1", ModelKind.REGRESSOR, (), features, regressor, scale), NO_REFERENCE)
    assert all(isinstance(prediction, float) for prediction in probes.predictions)
    numbers = np.array(probes.predictions, dtype=float)
    for factor, changed_count in ((1 + TOLERANCE / 2, 0), (1 + 3 * TOLERANCE, PROBE_ROWS)):
        others = replace(probes, predictions=tuple((numbers * factor).tolist()))
        assert compare(probes, others).changed_count == changed_count


@settings(max_examples=50, deadline=None)
@given(st.floats(-1, 1), st.integers(0, 1))
def test_a_probability_may_move_by_rounding(amount: float, row: int) -> None:
    """Whatever the amount, a difference counts exactly if it exceeds the tolerance."""
    shares = list(ANSWERS.probabilities)
    shares[row] = (shares[row][0] + amount, shares[row][1])
    change = compare(ANSWERS, replace(ANSWERS, probabilities=tuple(shares)))
    difference = abs(shares[row][0] - ANSWERS.probabilities[row][0]) / max(1.0, abs(shares[row][0]))
    assert change.changed_count == (difference > TOLERANCE)


@pytest.mark.parametrize(
    ("predictions", "changed_count"), [(("yes", "yes"), 1), (("no", "no"), 0), ((None, "yes"), 1), (("no", 1), 0)]
)
def test_a_class_counts_unless_rounding_decides_it(predictions: Any, changed_count: int) -> None:
    """Of two equally probable classes either may be the answer; every other change of class counts."""
    assert compare(ANSWERS, replace(ANSWERS, predictions=predictions)).changed_count == changed_count


def test_whole_numbers_that_are_classes_are_no_measures() -> None:
    """Classes 1,000,000 and 1,000,001 are different answers, although the numbers are close."""
    one = ProbeAnswers(("x",), ((1.0,),), (1_000_000,), (0.9,), ((),))
    assert compare(one, replace(one, predictions=(1_000_001,))).changed_count == 1


@pytest.mark.parametrize("key", ["rows", "predictions", "confidences", "probabilities", "names"])
def test_damaged_answers_count_as_absent(tmp_path: Path, key: str) -> None:
    """A file whose lists have different lengths is read without them, and nothing is compared."""
    document = json.loads(Reference(probes=ANSWERS).to_json())
    document["probes"][key] = document["probes"][key] * 2
    (tmp_path / "reference.json").write_text(json.dumps(document))
    assert read_reference(tmp_path / "reference.json").probes is None
