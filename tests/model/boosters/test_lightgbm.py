"""An adapter of LightGBM answers as the library does on the same rows, bit for bit, also after its text format."""

from typing import Any

import lightgbm
import numpy as np
import pytest

from stillsafe.errors import ModelError
from stillsafe.model.boosters.adapter import UnfittedBooster
from stillsafe.model.boosters.lightgbm import LightGBMModel, adapter_of
from tests.model.boosters.tables import LIGHT, amounts, binary, categorical, homes, light, numbers, texts, three

TABLE = homes()


def model_of(part: Any) -> LightGBMModel:
    """The adapter of a fitted object."""
    adapter = adapter_of(part)
    assert isinstance(adapter, LightGBMModel)
    return adapter


@pytest.mark.parametrize(
    ("estimator", "table", "labels"),
    [
        (light(), numbers(TABLE), binary(TABLE)),
        (light(), categorical(TABLE), texts(binary(TABLE))),
        (light(), categorical(TABLE), three(TABLE)),
        (light(boosting_type="dart"), numbers(TABLE), binary(TABLE)),
        (light(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5), numbers(TABLE), binary(TABLE)),
        (light(objective="multiclassova"), numbers(TABLE), three(TABLE)),
        (light(), numbers(TABLE).to_numpy(), binary(TABLE)),
    ],
    ids=["numbers", "categories", "three classes", "dart", "forest", "one versus all", "no names"],
)
def test_a_classifier_answers_as_its_library(estimator: Any, table: Any, labels: Any) -> None:
    """Classes and probabilities are those of the library's own class, from the object and from its text."""
    estimator.fit(table, labels)
    inputs = table if not hasattr(table, "assign") or "city" not in table else TABLE
    model = model_of(estimator)
    stored = LightGBMModel.parse(model.native_content()).with_classes(model.classes_.tolist())
    for each in (model, stored):
        assert each.predict(inputs).tolist() == estimator.predict(table).tolist()
        assert np.array_equal(each.predict_proba(inputs), estimator.predict_proba(table))


@pytest.mark.parametrize("objective", ["regression", "poisson", "quantile", "tweedie"])
def test_a_regressor_answers_as_its_library(objective: str) -> None:
    """The numbers are those of the library, also where its objective has a link."""
    table = categorical(TABLE)
    estimator = lightgbm.LGBMRegressor(**LIGHT, objective=objective).fit(table, amounts(TABLE))
    for model in (model_of(estimator), LightGBMModel.parse(model_of(estimator).native_content())):
        assert np.array_equal(model.predict(TABLE), estimator.predict(table))
        assert not hasattr(model, "predict_proba")


def test_a_booster_and_its_text_answer_as_the_booster() -> None:
    """`Booster` objects have the classes 0 and 1; the probabilities are the booster's own."""
    data = lightgbm.Dataset(categorical(TABLE), label=binary(TABLE))
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 6)
    probabilities: Any = booster.predict(categorical(TABLE))
    for model in (model_of(booster), LightGBMModel.parse(booster.model_to_string().encode())):
        assert np.array_equal(model.raw_output(TABLE)[2][:, 1], probabilities)  # type: ignore[index] # a classifier has probabilities
        assert model.predict(TABLE).tolist() == (probabilities > 0.5).astype(int).tolist()


def test_early_stopping_counts_in_both_forms() -> None:
    """The rounds after the best one are not used, neither by the object nor by its text."""
    table, labels = numbers(TABLE), binary(TABLE)
    noise = np.where(np.arange(100) % 4 == 0, 1 - labels[200:], labels[200:])
    data = lightgbm.Dataset(table[:200], label=labels[:200])
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1},
        data,
        60,
        valid_sets=[data.create_valid(table[200:], noise)],
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
    )
    assert 1 < booster.best_iteration < 60
    for model in (model_of(booster), LightGBMModel.parse(model_of(booster).native_content())):
        assert np.array_equal(model.predict_proba(table)[:, 1], booster.predict(table))


def test_an_unseen_category_is_missing_as_in_the_library() -> None:
    """LightGBM reads an unseen category and a missing one alike."""
    estimator = light().fit(categorical(TABLE), binary(TABLE))
    model = model_of(estimator)
    unseen, missing = TABLE.assign(city="Rome"), TABLE.assign(city=np.nan)
    own = estimator.predict_proba(missing.astype({"city": "category"}))
    assert np.array_equal(model.predict_proba(unseen), own)
    assert np.array_equal(model.predict_proba(missing), own)


def test_codes_are_their_own_categories() -> None:
    """A column named as categorical without pandas categories takes the codes as they are."""
    codes = numbers(TABLE).assign(city=TABLE["city"].map({"Bonn": 0, "Kiel": 1, "Ulm": 2}))
    estimator = light().fit(codes, binary(TABLE), categorical_feature=["city"])
    model = model_of(estimator)
    assert model.encoded_columns(["income", "age", "city"]) == {"city": ()}
    assert np.array_equal(model.predict_proba(codes), estimator.predict_proba(codes))


def test_names_with_spaces_are_taken_from_the_table() -> None:
    """LightGBM stores `home city` as `home_city`; the table's own name is used where it differs in that alone."""
    table = numbers(TABLE).rename(columns={"income": "net income"})
    estimator = light().fit(table, binary(TABLE))
    model = model_of(estimator)
    model.take_names(list(table.columns))
    assert model.feature_names_in_.tolist() == ["net income", "age"]
    assert np.array_equal(model.predict_proba(table[["age", "net income"]]), estimator.predict_proba(table))


def test_what_cannot_be_served_is_refused_by_name() -> None:
    """An own objective gives no probabilities, and ordered categories cannot be told from others."""
    own = light(objective=lambda truth, scores: (scores - truth, np.ones_like(scores)))
    with pytest.raises(ModelError, match="objective of its own"):
        adapter_of(own.fit(numbers(TABLE), binary(TABLE)))
    table = categorical(TABLE).assign(age=TABLE["age"].astype(int).astype("category").cat.as_ordered())
    with pytest.raises(ModelError, match="lists of categories"):
        adapter_of(light().fit(table, binary(TABLE)))


def test_an_unfitted_class_is_a_place_without_answers() -> None:
    """The template of a search is replaced by a place that says that it is not fitted."""
    adapter = adapter_of(light())
    assert isinstance(adapter, UnfittedBooster)
    assert not adapter.__sklearn_is_fitted__()
    assert adapter_of(lightgbm.Dataset(numbers(TABLE))) is None
