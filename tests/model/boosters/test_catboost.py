"""An adapter of CatBoost answers as the library does on the same rows, bit for bit, also after its own format."""

import pickle
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest

from stillsafe.errors import ModelError
from stillsafe.model.boosters.adapter import UnfittedBooster
from stillsafe.model.boosters.catboost import FEW, CatBoostModel, adapter_of
from tests.model.boosters.tables import CAT, amounts, binary, cat, homes, numbers, texts, three

TABLE = homes()


def model_of(part: Any) -> CatBoostModel:
    """The adapter of a fitted object."""
    adapter = adapter_of(part)
    assert isinstance(adapter, CatBoostModel)
    return adapter


@pytest.mark.parametrize(
    ("estimator", "table", "labels"),
    [
        (cat(), numbers(TABLE), binary(TABLE)),
        (cat(cat_features=["city"]), TABLE, texts(binary(TABLE))),
        (cat(cat_features=["city"]), TABLE, three(TABLE)),
        (cat(cat_features=[1]), numbers(TABLE).astype({"age": int}), binary(TABLE)),
        (cat(), numbers(TABLE).to_numpy(), binary(TABLE).astype(bool)),
        (cat(loss_function="CrossEntropy"), numbers(TABLE), binary(TABLE)),
        (cat(text_features=["city"]), TABLE.assign(city=TABLE["city"] + " by the river"), binary(TABLE)),
    ],
    ids=["numbers", "categories", "three classes", "codes", "no names", "cross entropy", "texts"],
)
def test_a_classifier_answers_as_its_library(estimator: Any, table: Any, labels: Any, tmp_path: Path) -> None:
    """Classes and probabilities are those of the library's own class, in small and large batches, from both forms."""
    estimator.fit(table, labels)
    estimator.save_model(str(tmp_path / "model.cbm"))
    for each in (model_of(estimator), CatBoostModel.parse((tmp_path / "model.cbm").read_bytes())):
        for rows in (slice(0, 1), slice(0, FEW), slice(0, 300)):
            inputs = table.iloc[rows] if hasattr(table, "iloc") else table[rows]
            own_classes = np.asarray(estimator.predict(inputs)).ravel().tolist()
            assert [str(name) for name in each.predict(inputs).tolist()] == [str(name) for name in own_classes]
            assert np.array_equal(each.predict_proba(inputs), estimator.predict_proba(inputs))


@pytest.mark.parametrize("loss", ["RMSE", "Poisson", "Quantile", "Tweedie:variance_power=1.5"])
def test_a_regressor_answers_as_its_library(loss: str) -> None:
    """The numbers are those of the library, also where its loss has a link that the file does not apply by itself."""
    estimator = catboost.CatBoostRegressor(**CAT, loss_function=loss, cat_features=["city"]).fit(TABLE, amounts(TABLE))
    for model in (model_of(estimator), CatBoostModel.parse(model_of(estimator).native_content())):
        assert np.array_equal(model.predict(TABLE), estimator.predict(TABLE))


def test_a_decimal_of_a_code_is_the_code() -> None:
    """A frame holds optional whole numbers as decimals; CatBoost gets them as whole numbers, as in training."""
    table = numbers(TABLE).astype({"age": int})
    estimator = cat(cat_features=["age"]).fit(table, binary(TABLE))
    assert np.array_equal(model_of(estimator).predict_proba(numbers(TABLE)), estimator.predict_proba(table))


def test_its_own_threshold_decides() -> None:
    """`set_probability_threshold` moves the answers and not the probabilities; the threshold survives the file."""
    estimator = cat().fit(numbers(TABLE), binary(TABLE))
    estimator.set_probability_threshold(0.2)
    for model in (model_of(estimator), CatBoostModel.parse(model_of(estimator).native_content())):
        assert model.decision_threshold == pytest.approx(0.2)
        assert model.predict(numbers(TABLE)).tolist() == estimator.predict(numbers(TABLE)).tolist()
        assert model.predict(numbers(TABLE)).tolist() != np.argmax(model.predict_proba(numbers(TABLE)), axis=1).tolist()


def test_a_missing_category_is_refused_as_by_the_library() -> None:
    """CatBoost takes no missing value in a column with categories."""
    model = model_of(cat(cat_features=["city"]).fit(TABLE, binary(TABLE)))
    with pytest.raises(catboost.CatBoostError):
        model.predict(TABLE.assign(city=None))
    with pytest.raises(catboost.CatBoostError):
        model.evaluate(model.encode_values([[1.0, 2.0, None]]))


def test_texts_are_not_saved_again() -> None:
    """What CatBoost saves of a pickled model with texts ends the process that loads it, so it is not saved."""
    texts_table = TABLE.assign(city=TABLE["city"] + " by the river")
    estimator = cat(text_features=["city"]).fit(texts_table, binary(TABLE))
    with pytest.raises(ModelError, match="pickled model with texts"):
        model_of(pickle.loads(pickle.dumps(estimator))).native_content()  # noqa: S301 - its own bytes


def test_what_cannot_be_served_is_refused_by_name() -> None:
    """Several outputs need several models."""
    two = np.column_stack([amounts(TABLE), amounts(TABLE)])
    estimator = catboost.CatBoostRegressor(**CAT, loss_function="MultiRMSE").fit(numbers(TABLE), two)
    with pytest.raises(ModelError, match="several outputs"):
        adapter_of(estimator)


def test_an_unfitted_class_is_a_place_without_answers() -> None:
    """The template of a search is replaced; other objects of the library are no models."""
    assert isinstance(adapter_of(cat()), UnfittedBooster)
    assert adapter_of(catboost.Pool(numbers(TABLE))) is None
