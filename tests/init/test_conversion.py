"""A trusted joblib model becomes a skops file if its predictions stay the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stillsafe import settings
from stillsafe.core.score import Score
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.init import conversion
from stillsafe.model.boosters.lightgbm import LightGBMModel
from stillsafe.model.load import load_model
from tests.init.services import (
    PERSON,
    SERVICE_FILES,
    folder_of,
    init_service,
    people,
    predictions_of,
    run_init,
    write_sample,
)
from tests.model.boosters.tables import cat, extreme, light

NUMBERS = ["age", "visits"]


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=5),
        RandomForestRegressor(5, n_jobs=2, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_what_skops_can_hold_becomes_skops(estimator: Any, tmp_path: Path) -> None:
    """The folder has no file that can run code, a warning reports the conversion, and the predictions are the same."""
    table = people()
    estimator.fit(table[NUMBERS], table["age"].gt(50).astype(int))
    created_service = init_service(estimator, table, tmp_path, trust_joblib=True)
    service_settings = settings.load(created_service.folder / "stillsafe.toml")
    assert (service_settings.model.format, service_settings.model.trusted) == ("skops", False)
    assert folder_of(created_service.folder) == SERVICE_FILES
    assert any("saved as skops" in warning for warning in created_service.warnings)
    rows: list[Any] = table[NUMBERS].head(20).to_dict("records")
    answers = [answer["prediction"] for answer in predictions_of(created_service.folder, *rows)]
    assert np.allclose(answers, estimator.predict(table[NUMBERS].head(20)))


def test_what_skops_cannot_hold_stays_joblib(tmp_path: Path) -> None:
    """A model with types that skops does not trust stays joblib, and a warning names the consequence."""
    table = people().astype({"town": "category"})
    features = table.drop(columns="stays")
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(features, table["stays"])
    created_service = init_service(model, table, tmp_path, trust_joblib=True)
    service_settings = settings.load(created_service.folder / "stillsafe.toml")
    assert (service_settings.model.format, service_settings.model.trusted) == ("joblib", True)
    assert any("which can call any function. A joblib" in warning for warning in created_service.warnings)
    assert predictions_of(created_service.folder, PERSON)[0]["decided_by"] == "model"


@pytest.mark.parametrize(
    "other",
    [Score("no", 0.5, None, None), Score("yes", 0.25, None, None), Score(None, None, None, "raised ValueError")],
    ids=["prediction", "confidence", "failure"],
)
def test_a_difference_prevents_the_conversion(other: Score) -> None:
    """Another prediction, confidence or failure prevents the conversion; rounding does not."""
    score = Score("yes", 0.5, None, None)
    assert not conversion.equal_scores(score, other)
    assert conversion.equal_scores(score, replace(score, confidence=0.5 + 1e-15))


class CustomClassifier(LogisticRegression):  # type: ignore[misc] # scikit-learn has no types
    """A custom type, which a skops file may not contain."""


def test_no_trust_is_needed_for_the_result(tmp_path: Path) -> None:
    """A type that is not trusted by name prevents the conversion, although skops could write it."""
    table = people()
    created_service = init_service(LogisticRegression().fit(table[["age"]], table["stays"]), table[["age"]], tmp_path)
    model = load_model(settings.load(created_service.folder / "stillsafe.toml"))
    rows: list[Any] = table[["age"]].to_dict("records")
    assert conversion.as_skops(model, rows) is not None
    custom_model = replace(model, estimator=CustomClassifier().fit(table[["age"]], table["stays"]))
    assert conversion.as_skops(custom_model, rows) is None


def test_a_type_that_its_owner_trusts_is_converted(tmp_path: Path) -> None:
    """`--trusted-type` makes the conversion possible, is written to the settings, and opens a skops file as well."""
    table = people()
    name = f"{CustomClassifier.__module__}.CustomClassifier"
    estimator = CustomClassifier().fit(table[["age"]], table["stays"])
    (folder := tmp_path / "first").mkdir()
    created_service = init_service(estimator, table[["age"]], folder, trust_joblib=True, python_path=(Path(),))
    assert any(f"give --trusted-type {name}. A joblib" in warning for warning in created_service.warnings)
    created_service = init_service(
        estimator, table[["age"]], tmp_path, trust_joblib=True, trusted_types=(name,), python_path=(Path(),)
    )
    model_settings = settings.load(created_service.folder / "stillsafe.toml").model
    assert (model_settings.format, model_settings.trusted, model_settings.trusted_types) == ("skops", False, (name,))
    sample = write_sample(table[["age"]], tmp_path)
    file = created_service.folder / "model.skops"
    with pytest.raises(ModelError, match="types that are not trusted") as failure:
        run_init(file, sample, tmp_path / "refused")
    assert "--trusted-type" in failure.value.remedy
    again = run_init(file, sample, tmp_path / "again", trusted_types=(name,))
    assert settings.load(again.folder / "stillsafe.toml").model.trusted_types == (name,)


BOOSTERS = {
    "lightgbm": (light(), "model.txt"),
    "xgboost": (extreme(), "model.ubj"),
    "catboost": (cat(), "model.cbm"),
}


@pytest.mark.parametrize("library", sorted(BOOSTERS))
def test_a_booster_becomes_a_file_of_its_library(library: str, tmp_path: Path) -> None:
    """The folder has the library's own format, which runs no code, with the classes that it lacks."""
    estimator, name = BOOSTERS[library]
    table = people()
    labels = table["age"].gt(50).astype(int)
    estimator.fit(table[NUMBERS], np.where(labels == 1, "old", "young") if library != "xgboost" else labels)
    created_service = init_service(estimator, table, tmp_path, trust_joblib=True)
    model = settings.load(created_service.folder / "stillsafe.toml").model
    assert (model.format, model.file, model.trusted) == (library, name, False)
    assert model.classes == (("old", "young") if library == "lightgbm" else ())
    assert any(f"own format of {library}" in warning for warning in created_service.warnings)
    rows: list[Any] = table[NUMBERS].head(20).to_dict("records")
    answers = predictions_of(created_service.folder, *rows)
    assert [answer["prediction"] for answer in answers] == estimator.predict(table[NUMBERS].head(20)).tolist()
    own = [list(each) for each in estimator.predict_proba(table[NUMBERS].head(20)).astype(float).tolist()]
    assert [list(answer["probabilities"].values()) for answer in answers] == own


def test_what_a_native_format_lacks_is_stored_as_skops(tmp_path: Path) -> None:
    """A number that means missing, and a pipeline around a booster, are stored as skops, which holds adapters."""
    table = people()
    labels = table["age"].gt(50).astype(int)
    pipeline = make_pipeline(StandardScaler(), light()).fit(table[NUMBERS], labels)
    own_missing = extreme(missing=3).fit(table[NUMBERS], labels)
    for number, estimator in enumerate((pipeline, own_missing)):
        folder = tmp_path / str(number)
        folder.mkdir()
        created_service = init_service(estimator, table, folder, trust_joblib=True)
        assert settings.load(created_service.folder / "stillsafe.toml").model.format == "skops"
        rows: list[Any] = table[NUMBERS].head(9).to_dict("records")
        answers = [list(each["probabilities"].values()) for each in predictions_of(created_service.folder, *rows)]
        assert answers == estimator.predict_proba(table[NUMBERS].head(9)).astype(float).tolist()


def test_a_booster_that_answers_otherwise_than_its_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapters inside a model are compared with the objects that its file has."""
    table = people()
    estimator = light().fit(table[NUMBERS], table["age"].gt(50).astype(int))
    answer = LightGBMModel.library_output
    monkeypatch.setattr(LightGBMModel, "library_output", lambda self, inputs: answer(self, inputs) / 2)
    with pytest.raises(ModelError, match="otherwise inside Stillsafe"):
        init_service(estimator, table, tmp_path, trust_joblib=True)


def test_the_owner_names_the_classes_of_a_file(tmp_path: Path) -> None:
    """A file of LightGBM has the classes 0 and 1; the owner gives them the names of the label column."""
    table = people()
    estimator = light().fit(table[NUMBERS], table["stays"])
    estimator.booster_.save_model(str(tmp_path / "model.txt"))
    sample = write_sample(table, tmp_path)
    with pytest.raises(ConfigurationError, match=r"class of the model \(0, 1\).*--class"):
        run_init(tmp_path / "model.txt", sample, tmp_path / "unnamed", label="stays")
    with pytest.raises(ModelError, match="2 classes, and 1 are named"):
        run_init(tmp_path / "model.txt", sample, tmp_path / "one", label="stays", classes=("no",))
    run_init(tmp_path / "model.txt", sample, tmp_path / "out", label="stays", classes=("no", "yes"))
    assert settings.load(tmp_path / "out" / "stillsafe.toml").model.classes == ("no", "yes")
    rows: list[Any] = table[NUMBERS].head(9).to_dict("records")
    answers = [answer["prediction"] for answer in predictions_of(tmp_path / "out", *rows)]
    assert answers == estimator.predict(table[NUMBERS].head(9)).tolist()


def test_a_search_is_stored_as_what_it_found(tmp_path: Path) -> None:
    """What skops cannot hold of a search is its search: the best estimator answers the same."""
    table = people()
    search = GridSearchCV(extreme(), {"max_depth": [2, 3]}, cv=2).fit(table[NUMBERS], table["age"].gt(50).astype(int))
    created_service = init_service(search, table, tmp_path, trust_joblib=True)
    model = settings.load(created_service.folder / "stillsafe.toml").model
    assert model.format == "skops"
