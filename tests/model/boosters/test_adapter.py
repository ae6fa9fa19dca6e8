"""Adapters look to scikit-learn like fitted estimators, and their state is plain data."""

import copy
import pickle
import sys

import numpy as np
import pytest
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from stillsafe.errors import ModelError
from stillsafe.model.boosters.adapter import BoosterModel, UnfittedBooster, import_library
from stillsafe.model.boosters.adoption import adopt
from tests.model.boosters.tables import amounts, binary, cat, categorical, extreme, homes, light, numbers, texts

TABLE, NAMES = homes(), ["income", "age", "city"]
ESTIMATORS = {
    "lightgbm": light().fit(categorical(TABLE), texts(binary(TABLE))),
    "xgboost": extreme(enable_categorical=True).fit(categorical(TABLE), binary(TABLE)),
    "catboost": cat(cat_features=["city"]).fit(TABLE, texts(binary(TABLE))),
}


@pytest.fixture(params=sorted(ESTIMATORS))
def model(request: pytest.FixtureRequest) -> BoosterModel:
    """An adapter of each library."""
    adapter = adopt(ESTIMATORS[request.param])
    assert isinstance(adapter, BoosterModel)
    return adapter


def test_scikit_learn_sees_a_fitted_estimator(model: BoosterModel) -> None:
    """It is a fitted classifier without parameters, and cannot be trained."""
    check_is_fitted(model)
    assert (is_classifier(model), is_regressor(model)) == (True, False)
    assert (model.get_params(), model.set_params()) == ({}, model)
    assert not hasattr(model, "transform")
    with pytest.raises(NotImplementedError):
        model.fit(TABLE, binary(TABLE))
    with pytest.raises(NotImplementedError):
        UnfittedBooster("regressor").predict(TABLE)


def test_copies_and_pickles_answer_alike(model: BoosterModel) -> None:
    """The state holds the booster in its library's own format, and everything else that the answers depend on."""
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 - its own bytes
        assert np.array_equal(twin.predict_proba(TABLE), model.predict_proba(TABLE))
        assert twin.predict(TABLE).tolist() == model.predict(TABLE).tolist()
        assert twin.encoded_columns(NAMES) == model.encoded_columns(NAMES)
        assert twin.has_decisions == model.has_decisions


def test_rows_and_tables_give_the_same_answers(model: BoosterModel) -> None:
    """Values of requests, in lists, are encoded as a table's columns are; the columns of a table are found by name."""
    rows = [[None if value != value else value for value in row] for row in TABLE.to_numpy(dtype=object).tolist()]
    table_output = model.raw_output(TABLE[["city", "age", "income"]])
    row_output = model.evaluate(model.encode_values(rows))
    assert row_output[0].tolist() == table_output[0].tolist()
    assert np.array_equal(row_output[2], table_output[2])  # type: ignore[arg-type] # a classifier has probabilities


def test_classes_get_names_in_their_order(model: BoosterModel) -> None:
    """Names replace the numbers 0, 1 and so on; their number must fit."""
    assert model.with_classes(["a", "b"]).classes_.tolist() == ["a", "b"]
    with pytest.raises(ModelError, match="2 classes, and 3 are named"):
        model.with_classes(["a", "b", "c"])


def test_names_stay_where_the_table_has_others() -> None:
    """Names are only taken over where they differ in nothing but underscores."""
    model = adopt(extreme().fit(numbers(TABLE), binary(TABLE)))
    model.take_names(["wage", "age"])
    assert model.feature_names_in_.tolist() == ["income", "age"]


def test_a_number_that_is_none_is_refused() -> None:
    """A text in a column of numbers raises, as in the library."""
    model = adopt(light().fit(numbers(TABLE), amounts(TABLE) > 140))
    with pytest.raises(ValueError, match="could not convert"):
        model.predict(numbers(TABLE).assign(age="old"))


def test_a_missing_library_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says which library, and how to install it."""
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ModelError, match=r"needs lightgbm.*pip install 'stillsafe\[lightgbm\]'"):
        import_library("lightgbm")
