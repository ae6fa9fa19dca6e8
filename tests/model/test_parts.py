"""The parts of a fitted model are found wherever they are, and columns reach encoders under their own names."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from stillsafe.model import parts
from tests.model.models import OddTransformer

TABLE = pd.DataFrame({"code": ["1", "2", "3"] * 40, "size": np.arange(120.0), "branch": [1, 2, 5] * 40})
NAMES = [*TABLE.columns]
FLAGS = (np.arange(120) % 2 == 0).astype(int)
ENCODE = ColumnTransformer(
    [
        ("texts", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["code"]),
        ("codes", OrdinalEncoder(), [2]),
        ("numbers", StandardScaler(), ["size"]),
    ]
)


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(ENCODE, LogisticRegression()),
        make_pipeline(make_pipeline(ENCODE), RandomForestClassifier(5)),
        GridSearchCV(make_pipeline(ENCODE, LogisticRegression()), {"logisticregression__C": [1.0]}, cv=2),
        CalibratedClassifierCV(make_pipeline(ENCODE, LogisticRegression()), cv=2),
        VotingClassifier([("a", make_pipeline(ENCODE, LogisticRegression()))]),
        TransformedTargetRegressor(make_pipeline(ENCODE, LinearRegression())),
    ],
    ids=lambda each: type(each).__name__,
)
def test_encoders_take_columns_by_name(estimator: Any) -> None:
    """An encoder in a pipeline, a search, a calibration or an ensemble has the names and categories of its columns."""
    assert parts.encoded_columns(estimator.fit(TABLE, FLAGS), NAMES) == {"code": ("1", "2", "3"), "branch": (1, 2, 5)}


def test_an_encoder_of_the_whole_table_takes_all_columns() -> None:
    """Without a ColumnTransformer the order of the columns counts; an imputer keeps it, unless it adds flags."""
    texts = TABLE[["code"]].assign(town=["a", "b"] * 60)
    model = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(), LogisticRegression())
    expected = {"code": ("1", "2", "3"), "town": ("a", "b")}
    assert parts.encoded_columns(model.fit(texts, FLAGS), ["code", "town"]) == expected
    adding = make_pipeline(SimpleImputer(strategy="most_frequent", add_indicator=True), OneHotEncoder())
    assert parts.encoded_columns(adding.fit(texts.mask(texts == "a")), ["code", "town"]) == {}


def test_trees_with_categorical_features_encode_them() -> None:
    """Gradient boosting that is told which columns are categories treats them as such."""
    model = HistGradientBoostingClassifier(max_iter=2, categorical_features=[1]).fit(TABLE[["size", "branch"]], FLAGS)
    assert parts.encoded_columns(model, ["size", "branch"]) == {"branch": ()}
    assert parts.encoded_columns(LogisticRegression().fit(TABLE[["size"]], FLAGS), ["size"]) == {}


class Own:
    """A transformer of another package."""

    def fit(self, _table: Any, _labels: Any = None) -> "Own":
        """Learn nothing."""
        return self

    def transform(self, table: Any) -> Any:
        """The same table."""
        return table

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - the signature of scikit-learn
        """No parameters."""
        return {}


def test_functions_and_foreign_transformers_are_opaque() -> None:
    """The columns of a function or of a class outside scikit-learn are named; those of ordinary steps are not."""
    transformer = make_column_transformer(
        (FunctionTransformer(np.abs), ["size"]), (Own(), ["branch"]), (OneHotEncoder(), ["code"])
    )
    assert parts.opaque_columns(transformer.fit(TABLE), NAMES) == {"size", "branch"}
    model = make_pipeline(FunctionTransformer(), StandardScaler(), LogisticRegression()).fit(TABLE[["size"]], FLAGS)
    assert parts.opaque_columns(model, ["size"]) == frozenset()


def test_all_parts_are_found() -> None:
    """Every estimator inside another is among its parts, itself first; the class name tells scikit-learn's apart."""
    model = make_pipeline(ENCODE, LogisticRegression()).fit(TABLE, FLAGS)
    names = [parts.class_name(part) for part in parts.estimator_parts(model)]
    assert names[0] == "Pipeline"
    assert {"OneHotEncoder", "OrdinalEncoder", "StandardScaler", "LogisticRegression"} <= {*names}
    assert parts.class_name(Own()) == ""
    assert [*parts.estimator_parts(None)] == []


def test_columns_are_selected_in_every_way() -> None:
    """By name, position, flag or slice."""
    names = ["a", "b", "c"]
    for selection in ("b", ["b"], [1], [False, True, False], slice(1, 2)):
        assert parts.selected_columns(selection, names) == ["b"]


def test_stated_orders_and_words_are_known() -> None:
    """An ordinal encoder has an order if somebody stated one, and a vectorizer reads the words of its column."""
    table = TABLE.assign(grade=["low", "high", "mid"] * 40, note=["late parcel", "quick", "size"] * 40)
    encode = make_column_transformer(
        (OrdinalEncoder(categories=[["low", "mid", "high"]]), ["grade"]),
        (OrdinalEncoder(), ["code"]),
        (TfidfVectorizer(), "note"),
        (StandardScaler(), ["size"]),
    )
    model = make_pipeline(encode, LogisticRegression()).fit(table, FLAGS)
    assert parts.ordered_categories(model, [*table.columns]) == {"grade": ("low", "mid", "high")}
    assert parts.vectorized_columns(model, [*table.columns]) == {"note"}


def test_attributes_of_other_libraries_are_not_read() -> None:
    """Where another library's class has names of scikit-learn for something else, all its columns are opaque."""
    model = make_pipeline(OddTransformer(), LogisticRegression()).fit(TABLE, FLAGS)
    for estimator in (model, model.steps[0][1]):
        assert parts.encoded_columns(estimator, NAMES) == {}
        assert parts.opaque_columns(estimator, NAMES) == set(NAMES)
        assert parts.vectorized_columns(estimator, NAMES) == frozenset()
