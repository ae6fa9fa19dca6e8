"""Two families of models, as they are found in the wild: boosted trees, and linear models behind an imputer."""

from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from benchmarks.detection.data import LABEL, SEED, Task

MISSING = "(missing)"
MATTERS = {"accuracy": 0.05, "error": 0.20}  # the loss from which a failure counts as harmful


class ModelFamily(StrEnum):
    """How the model is built."""

    TREES = "trees"
    LINEAR = "linear"


def fit(family: ModelFamily, task: Task, rows: pd.DataFrame) -> Any:
    """A fitted pipeline that takes the frame's features as they are.

    Args:
        family: boosted trees or linear.
        task: what is predicted.
        rows: features and `label`.
    """
    features = rows.drop(columns=LABEL)
    numbers = [str(name) for name in features if pd.api.types.is_numeric_dtype(features[name])]
    words = [str(name) for name in features if name not in numbers]
    build = _trees if family is ModelFamily.TREES else _linear
    return build(task, numbers, words).fit(features, rows[LABEL])


def _trees(task: Task, numbers: list[str], words: list[str]) -> Any:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    columns = make_column_transformer((encoder, words), ("passthrough", numbers))
    iterations = 40 if task is Task.MULTICLASS else 120
    if task is Task.REGRESSION:
        return make_pipeline(columns, HistGradientBoostingRegressor(max_iter=iterations, random_state=SEED))
    booster = HistGradientBoostingClassifier(max_iter=iterations, early_stopping=False, random_state=SEED)
    return make_pipeline(columns, booster)


def _linear(task: Task, numbers: list[str], words: list[str]) -> Any:
    last = Ridge() if task is Task.REGRESSION else LogisticRegression(max_iter=1000)
    return make_pipeline(linear_columns(numbers, words), last)


def linear_columns(numbers: list[str], words: list[str]) -> Any:
    """Numbers imputed and scaled, categories one-hot encoded: what models of distances and sums need."""
    encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=20, sparse_output=False)
    return make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (make_pipeline(SimpleImputer(strategy="constant", fill_value=MISSING), encoder), words),
    )


def losses(model: Any, rows: pd.DataFrame, task: Task) -> NDArray[np.float64]:
    """What each row's answer costs: 1 for a wrong class, the absolute error of a number.

    Args:
        model: fitted.
        rows: features and `label`, as served.
        task: what is predicted.
    """
    answers = model.predict(rows.drop(columns=LABEL))
    truth = rows[LABEL].to_numpy()
    lost: NDArray[np.float64] = np.abs(answers - truth) if task is Task.REGRESSION else (answers != truth) * 1.0
    return lost


def harm(loss: float, reference: float, task: Task) -> float:
    """By how much a mean loss is worse than the reference, in units of what matters: 1 is five points or a fifth.

    Args:
        loss: mean loss over some rows.
        reference: mean loss where all is well, positive for regression.
        task: what is predicted.
    """
    if task is Task.REGRESSION:
        return (loss / reference - 1) / MATTERS["error"]
    return (loss - reference) / MATTERS["accuracy"]
