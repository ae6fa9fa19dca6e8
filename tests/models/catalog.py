"""The estimators that are tried, and the format in which `init` stores each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import catboost
import lightgbm
import xgboost
from sklearn import (
    calibration,
    compose,
    covariance,
    discriminant_analysis,
    ensemble,
    gaussian_process,
    linear_model,
    model_selection,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    svm,
    tree,
)
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from tests.models.tables import KINDS, NUMBERS, ages_in_years

CLASSIFIER, REGRESSOR, DETECTOR = "classifier", "regressor", "detector"
LIGHT: dict[str, Any] = {"n_estimators": 10, "verbose": -1, "n_jobs": 1}
EXTREME: dict[str, Any] = {"n_estimators": 10, "n_jobs": 1}
CAT: dict[str, Any] = {"iterations": 10, "verbose": False, "allow_writing_files": False, "thread_count": 1}


@dataclass(frozen=True, slots=True)
class Entry:
    """One estimator.

    Attributes:
        name: its name in the table of the docs.
        task: `classifier`, `regressor` or `detector`.
        make: a new, unfitted estimator.
        library: `sklearn`, or the library of a booster.
        format: the format in which `init` stores it by itself, without a pipeline around it.
    """

    name: str
    task: str
    make: Callable[[], Any]
    library: str = "sklearn"
    format: str = "skops"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of tables that it is tried with."""
        return KINDS

    def takes(self, kind: str) -> bool:
        """Whether it takes a table by itself; otherwise a pipeline prepares the table."""
        return kind == "numbers" or (self.library != "sklearn" and kind in ("missing", "categories"))

    def estimator(self, kind: str) -> Any:
        """The unfitted estimator for a kind of table, in a pipeline where it needs one."""
        if kind == "categories" and self.library == "xgboost":
            return self.make().set_params(enable_categorical=True)
        if kind == "categories" and self.library == "catboost":
            return self.make().set_params(cat_features=["city"])
        if self.takes(kind):
            return self.make()
        last = {"categories": ["city"], "texts": "note", "dates": ["customer_since"]}.get(kind)
        encoder = {
            "categories": OneHotEncoder(handle_unknown="ignore"),
            "dates": FunctionTransformer(ages_in_years),
        }.get(kind, TfidfVectorizer())
        # Some estimators take no sparse matrix.
        steps = [(make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS), *([(encoder, last)] if last else [])]
        return make_pipeline(make_column_transformer(*steps, sparse_threshold=0), self.make())


def _members() -> list[tuple[str, Any]]:
    return [
        ("a", linear_model.LogisticRegression()),
        ("b", tree.DecisionTreeClassifier(max_depth=2)),
        ("c", naive_bayes.GaussianNB()),
    ]


def _regressors() -> list[tuple[str, Any]]:
    return [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=3))]


def _scaling_pipeline(estimator: Any) -> Any:
    return make_pipeline(StandardScaler(), estimator)


def _fixed_threshold() -> Any:
    return model_selection.FixedThresholdClassifier(linear_model.LogisticRegression(), threshold=0.3)


def _tuned_threshold() -> Any:
    return model_selection.TunedThresholdClassifierCV(linear_model.LogisticRegression(), cv=2, thresholds=9)


def _search() -> Any:
    return model_selection.GridSearchCV(linear_model.LogisticRegression(), {"C": [0.1, 1.0]}, cv=2)


def _target() -> Any:
    return compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=StandardScaler())


def _calibrated_svm() -> Any:
    return calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2)


def _calibrated_booster() -> Any:
    return calibration.CalibratedClassifierCV(lightgbm.LGBMClassifier(**LIGHT), cv=2)


def _entries(task: str, **makers: Callable[[], Any]) -> list[Entry]:
    return [Entry(name, task, make) for name, make in makers.items()]


ENTRIES: list[Entry] = [
    *_entries(
        CLASSIFIER,
        LogisticRegression=linear_model.LogisticRegression,
        SGDClassifier=lambda: _scaling_pipeline(linear_model.SGDClassifier(loss="log_loss", random_state=0)),
        RidgeClassifier=linear_model.RidgeClassifier,
        Perceptron=lambda: _scaling_pipeline(linear_model.Perceptron(random_state=0)),
        LinearSVC=svm.LinearSVC,
        SVC=svm.SVC,
        KNeighborsClassifier=neighbors.KNeighborsClassifier,
        NearestCentroid=neighbors.NearestCentroid,
        GaussianNB=naive_bayes.GaussianNB,
        LinearDiscriminantAnalysis=discriminant_analysis.LinearDiscriminantAnalysis,
        QuadraticDiscriminantAnalysis=lambda: discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1),
        DecisionTreeClassifier=lambda: tree.DecisionTreeClassifier(max_depth=4),
        ExtraTreeClassifier=lambda: tree.ExtraTreeClassifier(max_depth=4, random_state=0),
        RandomForestClassifier=lambda: ensemble.RandomForestClassifier(8, random_state=0),
        ExtraTreesClassifier=lambda: ensemble.ExtraTreesClassifier(8, random_state=0),
        BaggingClassifier=lambda: ensemble.BaggingClassifier(n_estimators=5, random_state=0),
        AdaBoostClassifier=lambda: ensemble.AdaBoostClassifier(n_estimators=8, random_state=0),
        GradientBoostingClassifier=lambda: ensemble.GradientBoostingClassifier(n_estimators=8),
        HistGradientBoostingClassifier=lambda: ensemble.HistGradientBoostingClassifier(max_iter=8),
        MLPClassifier=lambda: neural_network.MLPClassifier((8,), max_iter=2000, random_state=0),
        OneVsRestClassifier=lambda: multiclass.OneVsRestClassifier(linear_model.LogisticRegression()),
        CalibratedClassifierCV=_calibrated_svm,
        GridSearchCV=_search,
    ),
    Entry(
        "GaussianProcessClassifier",
        CLASSIFIER,
        lambda: gaussian_process.GaussianProcessClassifier(optimizer=None, max_iter_predict=20),
    ),
    Entry("VotingClassifier, hard", CLASSIFIER, lambda: ensemble.VotingClassifier(_members())),
    Entry(
        "VotingClassifier, soft",
        CLASSIFIER,
        lambda: ensemble.VotingClassifier(_members(), voting="soft"),
    ),
    Entry("StackingClassifier", CLASSIFIER, lambda: ensemble.StackingClassifier(_members(), cv=2)),
    Entry("FixedThresholdClassifier", CLASSIFIER, _fixed_threshold),
    Entry("TunedThresholdClassifierCV", CLASSIFIER, _tuned_threshold),
    *_entries(
        REGRESSOR,
        LinearRegression=linear_model.LinearRegression,
        Ridge=linear_model.Ridge,
        Lasso=lambda: linear_model.Lasso(0.01),
        ElasticNet=lambda: linear_model.ElasticNet(0.01),
        HuberRegressor=lambda: linear_model.HuberRegressor(max_iter=2000),
        SVR=svm.SVR,
        KNeighborsRegressor=neighbors.KNeighborsRegressor,
        DecisionTreeRegressor=lambda: tree.DecisionTreeRegressor(max_depth=4),
        RandomForestRegressor=lambda: ensemble.RandomForestRegressor(8, random_state=0),
        ExtraTreesRegressor=lambda: ensemble.ExtraTreesRegressor(8, random_state=0),
        GradientBoostingRegressor=lambda: ensemble.GradientBoostingRegressor(n_estimators=8),
        HistGradientBoostingRegressor=lambda: ensemble.HistGradientBoostingRegressor(max_iter=8),
        TransformedTargetRegressor=_target,
    ),
    Entry("VotingRegressor", REGRESSOR, lambda: ensemble.VotingRegressor(_regressors())),
    Entry("StackingRegressor", REGRESSOR, lambda: ensemble.StackingRegressor(_regressors(), cv=2)),
    *_entries(
        DETECTOR,
        IsolationForest=lambda: ensemble.IsolationForest(n_estimators=10, random_state=0, contamination=0.05),
        OneClassSVM=lambda: svm.OneClassSVM(nu=0.05),
        EllipticEnvelope=lambda: covariance.EllipticEnvelope(random_state=0, contamination=0.05),
    ),
    Entry("lightgbm.LGBMClassifier", CLASSIFIER, lambda: lightgbm.LGBMClassifier(**LIGHT), "lightgbm", "lightgbm"),
    Entry("lightgbm.LGBMRegressor", REGRESSOR, lambda: lightgbm.LGBMRegressor(**LIGHT), "lightgbm", "lightgbm"),
    Entry("xgboost.XGBClassifier", CLASSIFIER, lambda: xgboost.XGBClassifier(**EXTREME), "xgboost", "xgboost"),
    Entry("xgboost.XGBRFClassifier", CLASSIFIER, lambda: xgboost.XGBRFClassifier(**EXTREME), "xgboost", "xgboost"),
    Entry("xgboost.XGBRegressor", REGRESSOR, lambda: xgboost.XGBRegressor(**EXTREME), "xgboost", "xgboost"),
    Entry(
        "catboost.CatBoostClassifier", CLASSIFIER, lambda: catboost.CatBoostClassifier(**CAT), "catboost", "catboost"
    ),
    Entry("catboost.CatBoostRegressor", REGRESSOR, lambda: catboost.CatBoostRegressor(**CAT), "catboost", "catboost"),
    Entry("CalibratedClassifierCV(LGBMClassifier)", CLASSIFIER, _calibrated_booster),
]
