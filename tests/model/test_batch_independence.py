"""A model whose answers depend on the other rows of a batch is found, whatever the step; every other one passes."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, scale
from sklearn.svm import SVC, LinearSVC

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.schema import FeatureType
from stillsafe.init import infer, inspect
from stillsafe.model import batch_independence
from stillsafe.model.model import Model
from stillsafe.model.probe_rows import healthy_values
from stillsafe.model.reference import NO_REFERENCE
from tests.init.services import people

TABLE = people(400)
NUMBERS = TABLE[["age", "visits"]]
LABELS = TABLE["stays"]
AMOUNTS = 100 * TABLE["age"] + TABLE["visits"]


def fill_by_batch(table: pd.DataFrame) -> pd.DataFrame:
    """Missing values become the mean of the batch."""
    return table.fillna(table.mean()).fillna(0.0)


def rank_in_batch(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers become their rank among the rows of the batch."""
    return table.rank(pct=True)


class Noise:
    """A transformer outside scikit-learn that adds random numbers."""

    def fit(self, _table: Any, _labels: Any = None) -> "Noise":
        """Learn nothing."""
        return self

    def transform(self, table: Any) -> Any:
        """The table with noise."""
        return np.asarray(table, dtype=float) + np.random.default_rng().normal(size=np.shape(table))

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - the signature of scikit-learn
        """No parameters."""
        return {}


def model_of(estimator: Any, table: pd.DataFrame, labels: Any) -> Model:
    """The fitted model with a schema of the table, as `init` probes it."""
    fitted_model = estimator.fit(table, labels)
    kind, classes = inspect.kind_and_classes(fitted_model, Path("model"))
    return Model(
        "1", kind, classes, infer.describe(table).schema, fitted_model, inspect.probe_scale(fitted_model, Path("model"))
    )


def dependence_of(estimator: Any, table: pd.DataFrame, labels: Any) -> batch_independence.BatchDependence | None:
    """The result for a model on its own training rows."""
    model = model_of(estimator, table, labels)
    return batch_independence.batch_dependence(model, infer.rows_of(table, model.features))


@pytest.mark.parametrize(
    "step",
    [FunctionTransformer(scale), FunctionTransformer(rank_in_batch), FunctionTransformer(fill_by_batch)],
    ids=["scale", "rank", "fill"],
)
@pytest.mark.parametrize("last", [LogisticRegression(), LinearRegression(), LinearSVC(), RandomForestClassifier(10)])
def test_statistics_of_the_batch_are_found(step: Any, last: Any) -> None:
    """Scaling, ranking and filling by the batch are found, and the function is named as the likely cause."""
    labels = AMOUNTS if isinstance(last, LinearRegression) else LABELS
    dependence = dependence_of(make_pipeline(step, last), NUMBERS, labels)
    assert dependence is not None
    assert dependence.differing_count > 0
    assert not dependence.random
    assert f"FunctionTransformer({step.func.__name__})" in dependence.remedy
    assert "StandardScaler" in dependence.remedy


def test_a_step_deep_inside_is_found_too() -> None:
    """The place in the pipeline does not matter."""
    inner = ColumnTransformer([("n", make_pipeline(SimpleImputer(), FunctionTransformer(scale)), ["age", "visits"])])
    assert dependence_of(make_pipeline(inner, LogisticRegression()), NUMBERS, LABELS) is not None


def test_random_answers_are_found() -> None:
    """A model that answers the same batch differently is called random."""
    dependence = dependence_of(make_pipeline(Noise(), LinearRegression()), NUMBERS, AMOUNTS)
    assert dependence is not None
    assert dependence.random
    assert "random" in dependence.problem
    assert "Noise" in dependence.remedy


@pytest.mark.parametrize(
    "last",
    [
        LogisticRegression(),
        LinearSVC(),
        SVC(probability=True),
        RandomForestClassifier(20, n_jobs=2),
        HistGradientBoostingClassifier(max_iter=20),
        KNeighborsClassifier(algorithm="brute"),
        LinearRegression(),
        GradientBoostingRegressor(n_estimators=20),
        RandomForestRegressor(20),
        KNeighborsRegressor(algorithm="brute"),
        MLPRegressor(hidden_layer_sizes=(8,), max_iter=50),
    ],
    ids=lambda last: type(last).__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_models_of_scikit_learn_pass(last: Any) -> None:
    """Rounding in another order of additions is no dependence: every ordinary model passes, with missing values too."""
    table = TABLE[["age", "visits", "town"]].mask(np.random.default_rng(0).random((len(TABLE), 3)) < 0.05)
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "visits"]),
        (OneHotEncoder(handle_unknown="ignore"), ["town"]),
        sparse_threshold=0,
    )
    labels = LABELS if hasattr(last, "predict_proba") or isinstance(last, LinearSVC) else AMOUNTS
    assert dependence_of(make_pipeline(encode, last), table, labels) is None


def test_rows_come_from_the_reference() -> None:
    """Without a reference nothing can be scored; with one, rows hold its values."""
    model = model_of(LogisticRegression(), NUMBERS, LABELS)
    assert batch_independence.healthy_rows(model.features, NO_REFERENCE) == []
    assert batch_independence.batch_dependence(model, []) is None
    profile = FeatureBaseline(FeatureType.NUMERIC, 3, 0, 18.0, 90.0)
    assert healthy_values(model.features.features[0], profile) == [18.0, 90.0]
