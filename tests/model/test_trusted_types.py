"""Ordinary models of scikit-learn load from skops without further trust, and no trusted name runs code of the file."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - it makes the next import possible
from sklearn.feature_selection import SelectKBest, chi2, mutual_info_classif
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import Matern, WhiteKernel
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, LogisticRegressionCV, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, SplineTransformer

from stillsafe.model.artifact import read_estimator
from stillsafe.model.trusted_types import NEVER_TRUSTED, TRUSTED_TYPES

_RANDOM = np.random.default_rng(0)
TABLE = np.abs(_RANDOM.normal(size=(120, 4)))
CLASSES = (TABLE[:, 0] + TABLE[:, 1] > 1.5).astype(int)
NUMBERS = 3 * TABLE[:, 0] + 0.1


def logistic() -> Any:
    """A classifier to be wrapped."""
    return LogisticRegression()


MODELS: list[Any] = [
    StackingClassifier([("a", logistic()), ("b", GaussianNB())]),
    StackingRegressor([("a", LinearRegression()), ("b", Ridge())]),
    VotingClassifier([("a", logistic()), ("b", GaussianNB())], voting="soft"),
    VotingClassifier([("a", logistic()), ("b", GaussianNB())], voting="hard"),
    VotingRegressor([("a", LinearRegression()), ("b", Ridge())]),
    FixedThresholdClassifier(logistic(), threshold=0.2),
    *(TunedThresholdClassifierCV(logistic(), scoring=name) for name in ("balanced_accuracy", "f1", "precision")),
    TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1),
    TransformedTargetRegressor(LinearRegression(), transformer=QuantileTransformer(n_quantiles=20)),
    *(GridSearchCV(logistic(), {"C": [0.1, 1]}, scoring=name) for name in (None, "f1", "roc_auc", "neg_log_loss")),
    GridSearchCV(Ridge(), {"alpha": [0.1, 1]}, scoring="neg_root_mean_squared_error"),
    RandomizedSearchCV(logistic(), {"C": [0.1, 1]}, n_iter=2),
    make_pipeline(SelectKBest(chi2, k=2), logistic()),
    make_pipeline(SelectKBest(mutual_info_classif, k=2), logistic()),
    make_pipeline(IterativeImputer(), logistic()),
    make_pipeline(SplineTransformer(), logistic()),
    GaussianProcessClassifier(Matern() + WhiteKernel()),
    KNeighborsClassifier(algorithm="ball_tree", metric="manhattan"),
    KNeighborsRegressor(algorithm="kd_tree", metric="chebyshev"),
    LogisticRegressionCV(scoring="f1", cv=2, use_legacy_attributes=False, l1_ratios=(0,)),
]


@pytest.mark.filterwarnings("ignore")  # a model that is fitted on few rows warns about many things
@pytest.mark.parametrize("estimator", MODELS, ids=lambda each: type(each).__name__)
def test_an_ordinary_model_needs_no_further_trust(estimator: Any, tmp_path: Any) -> None:
    """Read from skops with the types of the list alone, a model answers as it did."""
    from sklearn.base import is_regressor

    estimator.fit(TABLE, NUMBERS if is_regressor(estimator) else CLASSES)
    (tmp_path / "model.skops").write_bytes(skops.io.dumps(estimator))
    again = read_estimator(tmp_path / "model.skops")
    assert np.array_equal(again.predict(TABLE), estimator.predict(TABLE))


@pytest.mark.filterwarnings("ignore")
def test_a_small_network_with_momentum_loads(tmp_path: Any) -> None:
    """The state of the optimiser is a container of numbers."""
    estimator = MLPClassifier(solver="sgd", max_iter=5).fit(TABLE, CLASSES)
    (tmp_path / "model.skops").write_bytes(skops.io.dumps(estimator))
    assert np.array_equal(read_estimator(tmp_path / "model.skops").predict(TABLE), estimator.predict(TABLE))


def test_trusted_names_are_of_libraries_and_exact() -> None:
    """Each name is listed once, belongs to a library, and is never a way to call anything."""
    assert len(set(TRUSTED_TYPES)) == len(TRUSTED_TYPES)
    assert NEVER_TRUSTED.isdisjoint(TRUSTED_TYPES)
    assert {name.partition(".")[0] for name in TRUSTED_TYPES} == {"numpy", "scipy", "sklearn", "stillsafe"}


def test_most_names_exist_in_this_version() -> None:
    """A name that no library has is a mistake of spelling, except one that another version has."""
    absent = [name for name in TRUSTED_TYPES if not _exists(name)]
    assert all(name.startswith(("scipy._lib.", "sklearn._loss.", "sklearn.neural_network.")) for name in absent), absent


def _exists(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(import_module(module), attribute)
    except ImportError:
        return False
