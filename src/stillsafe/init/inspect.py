"""Inspect a model: read it, determine its kind, and probe it on the sample before it is served."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.init import tolerance
from stillsafe.model.artifact import read_estimator
from stillsafe.model.batch_independence import batch_dependence
from stillsafe.model.boosters.formats import HEAD, native_format
from stillsafe.model.confidence import QUANTILES, ConfidenceScale, choose_method, scale_from
from stillsafe.model.estimator_kind import declared_kind, is_of_scikit_learn, last_estimator
from stillsafe.model.frame import frame, inputs_of
from stillsafe.model.library_versions import origin_sentence, versions_in_file
from stillsafe.model.model import Model, ModelKind, classes_of, kind_of
from stillsafe.own_modules import OwnModules, folders_of
from stillsafe.progress import Progress

SCORED_AT_ONCE = 2_000
LARGEST_ERROR_RATE = 0.01
PROBED_FIRST, HOPELESS_ERROR_RATE = 50, 0.1
LONGEST_MESSAGE = 200
_MODEL_LOGGERS = ("stillsafe.model.model", "stillsafe.model.load")


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Suppress warnings and log lines about the model while it is probed with unusual values on purpose."""
    loggers = [logging.getLogger(name) for name in _MODEL_LOGGERS]
    for logger in loggers:
        logger.addFilter(_drop_record)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_drop_record)


def _drop_record(_record: logging.LogRecord) -> bool:
    return False


def file_format(model_file: Path, trusted: bool) -> str:
    """The format of a model file by its content, whatever its name: a skops file is a zip archive.

    Returns:
        `skops`, `joblib`, or the library whose own format it is: `lightgbm`, `xgboost` or `catboost`.

    Raises:
        ModelError: the file cannot be read, or is joblib without being trusted.
    """
    try:
        with model_file.open("rb") as handle:
            head = handle.read(HEAD)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelError(f"The model cannot be read: {reason}.", "Check --model.", file=str(model_file)) from error
    name = "skops" if head.startswith(b"PK") else native_format(head) or "joblib"
    if name == "joblib" and head.lstrip().startswith((b"{", b"[")):
        raise ModelError(
            "It is a JSON file, but not one of XGBoost's `save_model`.",
            "Save the model in its library's format: LightGBM's `save_model` (.txt), CatBoost's (.cbm).",
            file=str(model_file),
        )
    if name == "joblib" and not trusted:
        problem = "It is not a skops file, and a joblib file can run any code when it is opened."
        remedy = "Save the model with `skops.io.dump`, or add --trust-joblib if you made the file yourself."
        raise ModelError(problem, remedy, file=str(model_file))
    return name


def read_model(model_file: Path, file_format: str, trusted_types: Sequence[str] = ()) -> Any:
    """Read the estimator; a skops file may contain the `trusted_types` beside those that are harmless.

    Raises:
        ModelError: with a remedy that needs no settings file, because there is none yet.
    """
    try:
        return read_estimator(model_file, kind=file_format, trusted=True, trusted_types=trusted_types)
    except ModelError as error:
        if "model.trusted_types" not in error.remedy:
            raise
        remedy = "If you know these types and trust the origin of the file, name each one with --trusted-type."
        raise ModelError(error.problem, remedy, file=error.file) from error


def read_with_own_modules(
    model_file: Path, file_format: str, own_modules: OwnModules, trusted_types: Sequence[str] = ()
) -> tuple[Any, OwnModules]:
    """Read the estimator, and complete the owner's modules by the folders from which it imported others.

    Raises:
        ConfigurationError: one of the modules cannot be imported.
        ModelError: as `read_model`.
    """
    own_modules.load()
    earlier_modules = {name for name in sys.modules if name not in own_modules.names}
    estimator = read_model(model_file, file_format, trusted_types)
    new_modules = [name for name in sys.modules if name not in earlier_modules and not name.startswith("stillsafe")]
    folders = dict.fromkeys([*own_modules.folders, *folders_of(new_modules)])
    return estimator, replace(own_modules, folders=tuple(folders))


def with_classes(estimator: Any, file_format: str, classes: Sequence[str], file: Path) -> Any:
    """The estimator of a booster's file with the names that the owner gives its classes; whole numbers are numbers.

    Raises:
        ConfigurationError: the file names its classes itself.
        ModelError: their number is wrong.
    """
    if not classes:
        return estimator
    if file_format not in ("lightgbm", "xgboost"):
        raise ConfigurationError(
            "--class names the classes of a file of LightGBM or XGBoost, which has 0, 1 and so on.", "Leave it out."
        )
    try:
        names = [int(name) for name in classes] if all(name.isdecimal() for name in classes) else list(classes)
        return estimator.with_classes(names)
    except ModelError as error:
        raise ModelError(error.problem, error.remedy, file=str(file)) from error


def kind_and_classes(estimator: Any, file: Path) -> tuple[ModelKind, tuple[Answer, ...]]:
    """The kind of a model and its classes.

    Raises:
        ModelError: it is not fitted, or is of no kind that can be served.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        kind = kind_of(estimator)
        if is_of_scikit_learn(last_estimator(estimator)):  # others keep what they learnt in attributes of any name
            check_is_fitted(estimator)
        return kind, classes_of(estimator)
    except NotFittedError:
        raise ModelError("The model is not fitted.", "Fit it, then save it again.", file=str(file)) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"The model cannot be served: {error}.", _wrapper(estimator), file=str(file)) from error


def _wrapper(estimator: Any) -> str:
    """How a model that is no classifier or regressor with one prediction per row can be served."""
    members = getattr(estimator, "estimators_", None)
    if isinstance(members, list) and isinstance(getattr(estimator, "classes_", None), list):
        return "Serve one model per output: each of its `estimators_` is a model of its own, for a service of its own."
    if hasattr(estimator, "cluster_centers_"):
        return (
            "Serve the classifier that gives the same answers: KNeighborsClassifier(1).fit(model.cluster_centers_, "
            "range(len(model.cluster_centers_)))."
        )
    if hasattr(estimator, "fit_predict") and getattr(estimator, "novelty", None) is False:
        return "Fit it with novelty=True, which lets it judge new rows."
    can_predict = hasattr(estimator, "predict")
    if can_predict and not is_of_scikit_learn(last_estimator(estimator)) and declared_kind(estimator) is None:
        return (
            "Derive its class from scikit-learn's ClassifierMixin or RegressorMixin, or set `_estimator_type` of the "
            "object to 'classifier' or 'regressor', and save it again. A classifier also needs `classes_`."
        )
    return (
        "Stillsafe serves fitted classifiers, regressors and anomaly detectors of scikit-learn, LightGBM, XGBoost and "
        "CatBoost, with one prediction per row."
    )


def probe_scale(estimator: Any, file: Path) -> ConfidenceScale:
    """A provisional confidence scale for probing the model, which does not affect whether it fails.

    Raises:
        ModelError: the model supports no confidence.
    """
    try:
        return ConfidenceScale(choose_method(estimator), tuple(np.linspace(0.0, 1.0, QUANTILES).tolist()))
    except ValueError as error:
        remedy = "Wrap it in CalibratedClassifierCV, which gives probabilities."
        raise ModelError(f"The model cannot be served: {error}.", remedy, file=str(file)) from error


def probe_model(candidate: Model, rows: Sequence[Row], file: Path, min_count: int = 1) -> Model:
    """The model with its confidence scale and with the schema that it tolerates.

    Args:
        candidate: the model with a provisional scale, and a schema in which every feature is optional.
        rows: the sample.
        file: the model file, for messages.
        min_count: rows that a quantile of the scale stands for.

    Raises:
        ModelError: the model fails on its own sample, does not give one prediction per row, or its answers depend on
            the other rows of a batch.
    """
    # Isolating each failing row takes minutes if the model fails on all of them, so we probe a few rows first.
    few_rows = _scorable_rows(candidate, rows[:: max(1, len(rows) // PROBED_FIRST)], HOPELESS_ERROR_RATE, file)
    _require_prediction_per_row(candidate, few_rows, file)
    scorable_rows = _scorable_rows(candidate, rows, LARGEST_ERROR_RATE, file)
    inputs = inputs_of(candidate.estimator, frame(candidate.features, scorable_rows))
    scale = scale_from(candidate.estimator, inputs, min_count)
    model = replace(candidate, scale=scale, features=tolerance.tolerated_schema(candidate, scorable_rows))
    if dependence := batch_dependence(model, scorable_rows):
        raise ModelError(dependence.problem, dependence.remedy, file=str(file))
    return model


def _scorable_rows(model: Model, rows: Sequence[Row], most_rate: float, file: Path) -> list[Row]:
    """The rows on which the model does not fail.

    Raises:
        ConfigurationError: the share of failures exceeds `most_rate`, in [0, 1].
    """
    scores = model.score(rows)
    scorable_rows = [row for row, score in zip(rows, scores, strict=True) if score.error is None]
    if len(rows) - len(scorable_rows) > most_rate * len(rows):
        raise _failure(model, rows, scores, file)
    return scorable_rows


def _require_prediction_per_row(model: Model, rows: Sequence[Row], file: Path) -> None:
    """Check that a call with several rows gives one prediction per row.

    A text vectorizer reads a data frame as the list of its column names. For one row with one column it then gives one
    prediction, which does not depend on the row.

    Raises:
        ModelError: it does not.
    """
    column_count = len(model.features.names)
    few_rows = rows[: 3 if column_count == 2 else 2]
    predictions = np.asarray(model.estimator.predict(inputs_of(model.estimator, frame(model.features, few_rows))))
    if predictions.shape != (len(few_rows),):
        problem = (
            f"The model gives {predictions.size} predictions for {len(few_rows)} rows: it reads texts, not the columns "
            "of a table."
        )
        remedy = "Put its vectorizer into a ColumnTransformer, which passes one column by name, and fit it on a table."
        raise ModelError(problem, remedy, file=str(file))


def _failure(model: Model, rows: Sequence[Row], scores: Sequence[Score], file: Path) -> ConfigurationError:
    """The error that explains why a model fails on its own sample."""
    scorable_rows = [row for row, score in zip(rows, scores, strict=True) if score.error is None]
    failing_rows = [row for row, score in zip(rows, scores, strict=True) if score.error is not None]
    error = next(score.error for score in scores if score.error is not None)
    if error == "wrong shape":
        remedy = "Fit it on one label column (a one-dimensional y), one model per label."
        return ModelError("The model does not give one plain prediction per row.", remedy, file=str(file))
    if scorable_rows and (names := tolerance.features_failing_when_missing(model, scorable_rows, failing_rows)):
        problem = f"The sample has missing values of {', '.join(map(repr, names))}, and the model fails on them."
        return ConfigurationError(problem, "Add an imputer to the model, or fill in the values of the sample.")
    message = _exception_text(model, failing_rows, error)
    problem = f"The model fails on {len(failing_rows)} of {len(rows)} rows of its own sample: {message}."
    if sentence := origin_sentence(versions_in_file(file.read_bytes() if file.exists() else b"")):
        return ModelError(problem, sentence, file=str(file))
    remedy = "Give the sample that belongs to this model, with the columns as they were in training."
    return ModelError(problem, remedy, file=str(file))


def _exception_text(model: Model, failing_rows: Sequence[Row], error: str) -> str:
    """The model's exception for the first failing row. It may show values: the sample belongs to the caller."""
    try:
        model.estimator.predict(inputs_of(model.estimator, frame(model.features, failing_rows[:1])))
    except Exception as exception:  # noqa: BLE001 - third-party code, whose exception is the result
        message = next(iter(str(exception).splitlines()), "").rstrip(".:")[:LONGEST_MESSAGE]
        return f"{type(exception).__name__}: {message}"
    return error


def score_sample(model: Model, rows: Sequence[Row], progress: Progress) -> list[Score]:
    """Score the whole sample.

    Raises:
        ModelError: the model fails on more than 1% of the rows.
    """
    scores: list[Score] = []
    for start in range(0, len(rows), SCORED_AT_ONCE):
        scores.extend(model.score(rows[start : start + SCORED_AT_ONCE]))
        progress("Scoring the sample", len(scores) / len(rows))
    errors = [score.error for score in scores if score.error is not None]
    if len(errors) > LARGEST_ERROR_RATE * len(rows):
        raise ModelError(
            f"The model fails on {len(errors)} of the {len(rows)} rows of the sample ({errors[0]}).",
            "Repair the model or the sample: a healthy period has no failures.",
        )
    return scores
