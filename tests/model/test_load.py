"""Loading verifies that a model fits its schema and has a confidence scale, before anything is served."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.schema import FeatureType, Schema
from stillsafe.errors import ModelError
from stillsafe.model.load import features_required_by_model, load_model
from stillsafe.model.reference import NO_REFERENCE, Reference
from tests.model.models import features_of, model_of, write_reference
from tests.model.test_reference import BASELINE
from tests.serving.services import FEATURES, GOOD, OLD, fitted_pipeline, pipeline, sample, save_model, settings_of


@pytest.mark.parametrize(("last", "kind"), [(LinearSVC(), "margin_rank"), (LogisticRegression(), "class_probability")])
def test_a_scale_is_read_from_the_reference_file(tmp_path: Path, last: Any, kind: str) -> None:
    """A model without probabilities is served with the scale that `init` measured."""
    estimator = fitted_pipeline(last)
    write_reference(tmp_path, estimator)
    model = model_of(tmp_path, estimator)
    score = model.score([GOOD])[0]
    assert model.scale.method.value == kind
    assert score.confidence is not None
    assert 0 <= score.confidence <= 1
    assert (score.probabilities is None) == (kind == "margin_rank")


def test_a_forest_predicts_in_one_thread(tmp_path: Path) -> None:
    """For a small request threads cost more than they save; the predictions are the same."""
    model = model_of(tmp_path, fitted_pipeline(RandomForestClassifier(10, n_jobs=-1, random_state=0)))
    assert model.estimator.steps[-1][1].n_jobs == 1
    assert model.score([GOOD])[0].prediction == "no"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "needs a scale, which the reference file lacks"),
        ("{}", "needs a scale"),
        ("[1]", "needs a scale"),
        ('{"confidence": {"method": "margin_rank", "quantiles": [1, 2]}}', "not 101 increasing numbers"),
        ('{"confidence": {"method": "ensemble_spread", "quantiles": []}}', "needs a scale"),
        ("{", "not a reference file"),
    ],
)
def test_a_rank_confidence_needs_a_scale(tmp_path: Path, document: str | None, message: str) -> None:
    """A rank without a healthy scale has no meaning, so the model is refused with a remedy."""
    if document is not None:
        (tmp_path / "reference.json").write_text(document)
    with pytest.raises(ModelError, match=message) as failure:
        model_of(tmp_path, fitted_pipeline(LinearSVC()))
    assert "stillsafe init" in failure.value.remedy


def test_a_model_that_does_not_fit_the_schema_is_refused(tmp_path: Path) -> None:
    """The error names the features that either side lacks."""
    other_features = [{**FEATURES[0], "name": "years"}, *FEATURES[1:]]
    settings = settings_of(save_model(fitted_pipeline(), tmp_path)).model_copy(
        update={"features": features_of(tmp_path, other_features)}
    )
    with pytest.raises(ModelError, match="settings lack 'age' and the model was not fitted with 'years'"):
        load_model(settings)


def test_without_names_the_features_are_counted(tmp_path: Path) -> None:
    """A model fitted on arrays must have as many features as the schema, in the order of the schema."""
    numbers = sample()[["age", "visits"]].to_numpy()
    estimator = LogisticRegression().fit(numbers, numbers[:, 0] > 50)
    settings = settings_of(save_model(estimator, tmp_path))
    with pytest.raises(ModelError, match="fitted with 2 features, and the settings describe 4"):
        load_model(settings)
    model = load_model(settings.model_copy(update={"features": settings.features[:2]}))
    assert [score.prediction for score in model.score([GOOD, OLD])] == [False, True]
    assert model.classes == (False, True)
    assert list(model.score([GOOD])[0].probabilities or ()) == ["false", "true"]


def test_a_model_that_fails_on_a_healthy_row_is_refused(tmp_path: Path) -> None:
    """The probe row consists of the most frequent values of the reference."""
    profiles = {name: FeatureBaseline(FeatureType.NUMERIC, 4, 0, minimum=20) for name in ("age", "visits")}
    profiles["town"] = FeatureBaseline(FeatureType.CATEGORY, 4, 0, category_counts={"Rome": 3, "Oslo": 1})
    reference = Reference(replace(BASELINE, features=profiles))
    (tmp_path / "reference.json").write_text(reference.to_json())
    with pytest.raises(ModelError, match=r"fails on a probe row \(raised ValueError\)"):
        model_of(tmp_path, fitted_pipeline(unknown="error"))
    with pytest.raises(ModelError, match="not fitted"):
        model_of(tmp_path, pipeline(LogisticRegression()))


def test_features_that_the_model_requires_are_named(tmp_path: Path) -> None:
    """A feature that the schema allows to be missing, but the model needs, is known before a request lacks it."""
    model = model_of(tmp_path, fitted_pipeline())
    optional = Schema(tuple(replace(spec, required=False) for spec in model.features.features))
    assert features_required_by_model(model, NO_REFERENCE) == []
    assert features_required_by_model(replace(model, features=optional), NO_REFERENCE) == ["age", "visits", "member"]
