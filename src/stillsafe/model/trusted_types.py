"""Types that a skops file may contain although skops does not trust them by itself, by exact name."""

_METRICS = {
    "_classification": (
        *("accuracy_score", "balanced_accuracy_score", "brier_score_loss", "cohen_kappa_score", "d2_log_loss_score"),
        *("f1_score", "fbeta_score", "hamming_loss", "jaccard_score", "log_loss", "matthews_corrcoef"),
        *("precision_score", "recall_score", "zero_one_loss"),
    ),
    "_ranking": ("average_precision_score", "roc_auc_score", "top_k_accuracy_score"),
    "_regression": (
        *("d2_absolute_error_score", "explained_variance_score", "max_error", "mean_absolute_error"),
        *("mean_absolute_percentage_error", "mean_gamma_deviance", "mean_pinball_loss", "mean_poisson_deviance"),
        *("mean_squared_error", "mean_squared_log_error", "median_absolute_error", "r2_score"),
        *("root_mean_squared_error", "root_mean_squared_log_error"),
    ),
}
_SPLITTERS = (
    *("GroupKFold", "GroupShuffleSplit", "KFold", "LeaveOneGroupOut", "LeaveOneOut", "PredefinedSplit"),
    *("RepeatedKFold", "RepeatedStratifiedKFold", "ShuffleSplit", "StratifiedGroupKFold", "StratifiedKFold"),
    *("StratifiedShuffleSplit", "TimeSeriesSplit"),
)
_KERNELS = (
    *("CompoundKernel", "ConstantKernel", "DotProduct", "Exponentiation", "ExpSineSquared", "Matern", "Product"),
    *("RationalQuadratic", "RBF", "Sum", "WhiteKernel"),
)
_DISTANCES = (
    *("BrayCurtis", "Canberra", "Chebyshev", "Euclidean", "Hamming", "Haversine", "Manhattan", "Minkowski"),
    *("SEuclidean",),
)
_SELECTION = ("chi2", "f_classif", "f_regression", "r_regression")

TRUSTED_TYPES = (
    "numpy.dtype",
    "scipy.sparse._csr.csr_matrix",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "scipy.interpolate._bsplines.BSpline",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.feature_selection._mutual_info.mutual_info_regression",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.impute._iterative.IterativeImputer",
    "sklearn.impute._iterative._ImputerTriplet",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
    "stillsafe.model.boosters.adapter.UnfittedBooster",
    "stillsafe.model.boosters.catboost.CatBoostModel",
    "stillsafe.model.boosters.lightgbm.LightGBMModel",
    "stillsafe.model.boosters.xgboost.XGBoostModel",
    *(f"sklearn.feature_selection._univariate_selection.{name}" for name in _SELECTION),
    *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
    *(f"sklearn.metrics._dist_metrics.{name}Distance{bits}" for name in _DISTANCES for bits in (32, 64)),
    *(f"sklearn.metrics.{module}.{name}" for module, names in _METRICS.items() for name in names),
    *(f"sklearn.model_selection._split.{name}" for name in _SPLITTERS),
)
"""Types that ordinary scikit-learn models contain, and the adapters of boosters.

Each is a container of numbers or of other types of this list, the state of an optimiser, a function that computes a
number from arrays, or a booster in its library's own format. None can call a function that the file chooses and this
list lacks.
"""

NEVER_TRUSTED = frozenset(["functools.partial", "operator.methodcaller"])
"""Types that can call any function with any arguments."""
