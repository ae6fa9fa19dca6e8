"""An adapter of XGBoost answers as the library does on the same rows, bit for bit, also after its own formats."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from stillsafe.errors import ModelError
from stillsafe.model.boosters.adapter import UnfittedBooster
from stillsafe.model.boosters.xgboost import XGBoostModel, adapter_of
from tests.model.boosters.tables import EXTREME, amounts, binary, categorical, extreme, homes, numbers, three

TABLE = homes()


def model_of(part: Any) -> XGBoostModel:
    """The adapter of a fitted object."""
    adapter = adapter_of(part)
    assert isinstance(adapter, XGBoostModel)
    return adapter


@pytest.mark.parametrize(
    ("estimator", "table", "labels"),
    [
        (extreme(), numbers(TABLE), binary(TABLE)),
        (extreme(enable_categorical=True), categorical(TABLE), binary(TABLE)),
        (extreme(enable_categorical=True), categorical(TABLE), three(TABLE)),
        (extreme(booster="dart"), numbers(TABLE), binary(TABLE)),
        (extreme(booster="gblinear"), numbers(TABLE).fillna(0), binary(TABLE)),
        (xgboost.XGBRFClassifier(**EXTREME), numbers(TABLE), binary(TABLE)),
        (extreme(), numbers(TABLE).to_numpy(), three(TABLE)),
    ],
    ids=["numbers", "categories", "three classes", "dart", "linear", "forest", "no names"],
)
def test_a_classifier_answers_as_its_library(estimator: Any, table: Any, labels: Any) -> None:
    """Classes and probabilities are those of the library's own class, from the object and from its file."""
    estimator.fit(table, labels)
    inputs = TABLE if getattr(estimator, "enable_categorical", False) and "city" in table else table
    model = model_of(estimator)
    for each in (model, XGBoostModel.parse(model.native_content())):
        assert each.predict(inputs).tolist() == estimator.predict(table).tolist()
        assert np.array_equal(each.predict_proba(inputs), estimator.predict_proba(table))


@pytest.mark.parametrize("objective", ["reg:squarederror", "count:poisson", "reg:gamma", "reg:logistic"])
def test_a_regressor_answers_as_its_library(objective: str) -> None:
    """The numbers are those of the library, also where its objective has a link."""
    labels = amounts(TABLE) / (1_000 if objective == "reg:logistic" else 1)
    estimator = xgboost.XGBRegressor(**EXTREME, objective=objective).fit(numbers(TABLE), labels)
    for model in (model_of(estimator), XGBoostModel.parse(model_of(estimator).native_content())):
        assert np.array_equal(model.predict(numbers(TABLE)), estimator.predict(numbers(TABLE)).astype(np.float64))


@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_a_booster_and_its_files_answer_as_the_booster(ending: str, tmp_path: Path) -> None:
    """`Booster` objects and both file formats give the booster's own probabilities."""
    table = numbers(TABLE)
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(table, label=binary(TABLE)), 6)
    booster.save_model(tmp_path / f"model.{ending}")
    own = booster.predict(xgboost.DMatrix(table))
    for model in (model_of(booster), XGBoostModel.parse((tmp_path / f"model.{ending}").read_bytes())):
        assert np.array_equal(model.predict_proba(table)[:, 1], own)


def test_a_booster_that_answers_with_a_class_has_probabilities_too() -> None:
    """With `multi:softmax` the class is the booster's own, and probabilities come from its margins."""
    table = numbers(TABLE)
    parameters = {"objective": "multi:softmax", "num_class": 3}
    booster = xgboost.train(parameters, xgboost.DMatrix(table, label=three(TABLE)), 6)
    model = model_of(booster)
    assert model.predict(table).tolist() == booster.predict(xgboost.DMatrix(table)).astype(int).tolist()
    assert np.allclose(model.predict_proba(table).sum(axis=1), 1)


def test_early_stopping_counts_as_in_the_class_that_trained() -> None:
    """A scikit-learn class answers up to its best round, also from its file; a plain booster with all rounds."""
    table, labels = numbers(TABLE), binary(TABLE)
    noise = np.random.default_rng(0).permutation(labels[200:])
    estimator = extreme(n_estimators=60, early_stopping_rounds=3)
    estimator.fit(table[:200], labels[:200], eval_set=[(table[200:], noise)], verbose=False)
    assert estimator.best_iteration < estimator.get_booster().num_boosted_rounds() - 1
    for model in (model_of(estimator), XGBoostModel.parse(model_of(estimator).native_content())):
        assert np.array_equal(model.predict_proba(table), estimator.predict_proba(table))
    plain = estimator.get_booster()
    plain.set_attr(scikit_learn=None)
    own = plain.predict(xgboost.DMatrix(table))
    assert np.array_equal(XGBoostModel.parse(bytes(plain.save_raw("json"))).predict_proba(table)[:, 1], own)


def test_a_missing_value_of_its_own_stays() -> None:
    """A number that means missing is no part of the library's formats, so they are not whole."""
    table = numbers(TABLE).fillna(-1.0)
    estimator = extreme(missing=-1.0).fit(table, binary(TABLE))
    model = model_of(estimator)
    assert np.array_equal(model.predict_proba(table), estimator.predict_proba(table))
    assert not model.is_whole_in_native_format
    assert model_of(extreme().fit(table, binary(TABLE))).is_whole_in_native_format


def test_an_unseen_category_is_refused_as_by_the_library() -> None:
    """XGBoost raises for a category that it was not trained on, and reads a missing one as missing."""
    estimator = extreme(enable_categorical=True).fit(categorical(TABLE), binary(TABLE))
    model = model_of(estimator)
    with pytest.raises(ValueError, match="not trained on"):
        model.predict(TABLE.assign(city="Rome"))
    missing = categorical(TABLE).assign(city=categorical(TABLE)["city"].where(TABLE.index < 0))
    assert np.array_equal(
        model.predict_proba(TABLE.assign(city=np.nan)), estimator.predict_proba(missing), equal_nan=True
    )


def test_what_cannot_be_served_is_refused_by_name() -> None:
    """Margins are no probabilities, and several outputs need several models."""
    with pytest.raises(ModelError, match="margins"):
        adapter_of(extreme(objective="binary:logitraw").fit(numbers(TABLE), binary(TABLE)))
    two = np.column_stack([amounts(TABLE), amounts(TABLE)])
    with pytest.raises(ModelError, match="several outputs"):
        adapter_of(xgboost.XGBRegressor(**EXTREME).fit(numbers(TABLE), two))


def test_an_unfitted_class_is_a_place_without_answers() -> None:
    """The template of a search is replaced; other objects of the library are no models."""
    assert isinstance(adapter_of(extreme()), UnfittedBooster)
    assert adapter_of(xgboost.DMatrix(numbers(TABLE))) is None


def test_one_thread_is_set() -> None:
    """The booster computes with one thread: for few rows, more only wait for each other."""
    model = model_of(extreme(n_jobs=4).fit(numbers(TABLE), binary(TABLE)))
    assert json.loads(model.booster.save_config())["learner"]["generic_param"]["nthread"] == "1"
