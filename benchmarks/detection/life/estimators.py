"""Models of more kinds: nearest neighbours, a support vector machine, a forest, and boosting of other libraries."""

from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, SVR

from benchmarks.detection import models
from benchmarks.detection.data import LABEL, SEED, Task
from benchmarks.detection.models import ModelFamily

SVM_ROWS = 3_000  # a support vector machine is trained on so many


class Estimator(StrEnum):
    """How a model is built."""

    TREES = "trees"
    LINEAR = "linear"
    FOREST = "forest"
    NEIGHBOURS = "knn"
    SVM = "svm"
    LIGHTGBM = "lightgbm"
    XGBOOST = "xgboost"
    CATBOOST = "catboost"


_LIBRARIES = {
    Estimator.LIGHTGBM: ("lightgbm", "LGBMClassifier", "LGBMRegressor", {"n_estimators": 120, "verbose": -1}),
    Estimator.XGBOOST: ("xgboost", "XGBClassifier", "XGBRegressor", {"n_estimators": 120}),
    Estimator.CATBOOST: (
        "catboost",
        "CatBoostClassifier",
        "CatBoostRegressor",
        {"iterations": 150, "verbose": False, "allow_writing_files": False},
    ),
}


def is_available(estimator: Estimator) -> bool:
    """Whether the library that it needs is installed."""
    return estimator not in _LIBRARIES or find_spec(_LIBRARIES[estimator][0]) is not None


def fit(estimator: Estimator, task: Task, rows: pd.DataFrame) -> Any:
    """A fitted pipeline that takes the frame's features as they are.

    Args:
        estimator: how to build it.
        task: what is predicted.
        rows: features and `label`.

    Raises:
        ModuleNotFoundError: its library is not installed.
    """
    if estimator in (Estimator.TREES, Estimator.LINEAR):
        return models.fit(ModelFamily(estimator), task, rows)
    if estimator is Estimator.SVM and len(rows) > SVM_ROWS:
        rows = rows.sample(SVM_ROWS, random_state=SEED)
    features = rows.drop(columns=LABEL)
    numbers = [str(name) for name in features if pd.api.types.is_numeric_dtype(features[name])]
    words = [str(name) for name in features if name not in numbers]
    last = _last_step(estimator, regressor=task is Task.REGRESSION)
    return make_pipeline(models.linear_columns(numbers, words), last).fit(features, rows[LABEL])


def _last_step(estimator: Estimator, *, regressor: bool) -> Any:
    if estimator is Estimator.NEIGHBOURS:
        return KNeighborsRegressor(15) if regressor else KNeighborsClassifier(15)
    if estimator is Estimator.SVM:
        return SVR(C=10.0) if regressor else SVC(probability=True, random_state=SEED)
    if estimator is Estimator.FOREST:
        kind = RandomForestRegressor if regressor else RandomForestClassifier
        return kind(60, min_samples_leaf=3, random_state=SEED, n_jobs=1)
    library, classifier_name, regressor_name, options = _LIBRARIES[estimator]
    kind = getattr(import_module(library), regressor_name if regressor else classifier_name)
    return kind(random_state=SEED, **options)
