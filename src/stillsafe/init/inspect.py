"""A model met for the first time: read, asked what it is, and tried on the sample before it is believed."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row, Schema
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.init import infer
from stillsafe.model.confidence import QUANTILES
from stillsafe.model.frame import inputs_of
from stillsafe.model.model import (
    ConfidenceScale,
    Model,
    ModelKind,
    Score,
    choose_method,
    classes_of,
    frame,
    kind_of,
    read_estimator,
    scale_from,
)

Progress = Callable[[str], None]
SCORED_AT_ONCE = 2_000
LARGEST_ERROR_RATE = 0.01
TRIED_FIRST, HOPELESS_ERROR_RATE = 50, 0.1
LONGEST_COMPLAINT = 200


@contextmanager
def quietly() -> Iterator[None]:
    """The model is asked odd things on purpose: what it mutters about them is nobody's concern."""
    told = logging.getLogger("stillsafe.model.model")
    was = told.disabled
    told.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        told.disabled = was


def form_of(model_file: Path, trusted: bool) -> str:
    """`skops` or `joblib`: a skops file is a zip archive, whatever its name.

    Raises:
        ModelError: it cannot be read, or is not to be trusted.
    """
    try:
        with model_file.open("rb") as handle:
            form = "skops" if handle.read(2) == b"PK" else "joblib"
    except OSError as error:
        told = error.strerror or str(error)
        raise ModelError(f"The model cannot be read: {told}.", "Check --model.", file=str(model_file)) from error
    if form == "joblib" and not trusted:
        told = "It is no skops file, and a joblib file can run any code when it is opened."
        remedy = "Save the model with `skops.io.dump`, or add --trust-joblib if you made the file yourself."
        raise ModelError(told, remedy, file=str(model_file))
    return form


def read(model_file: Path, form: str) -> Any:
    """The estimator; where the settings would be the place to trust it, there are none yet.

    Raises:
        ModelError: with a remedy that can be followed here.
    """
    try:
        return read_estimator(model_file, kind=form, trusted=True)
    except ModelError as error:
        if "model.trusted_types" not in error.remedy:
            raise
        remedy = "If you made the file yourself, save the model with joblib and add --trust-joblib."
        raise ModelError(error.problem, remedy, file=error.file) from error


def servable(estimator: Any, file: Path) -> tuple[ModelKind, tuple[Answer, ...]]:
    """What kind of model it is, and its classes.

    Raises:
        ModelError: it is not fitted, or is of no kind that can be served.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        kind = kind_of(estimator)
        check_is_fitted(estimator)
        return kind, classes_of(estimator)
    except NotFittedError:
        raise ModelError("The model is not fitted.", "Fit it, then save it again.", file=str(file)) from None
    except (ValueError, TypeError, AttributeError) as error:
        remedy = "Stillsafe serves fitted scikit-learn classifiers and regressors with one answer per row."
        raise ModelError(f"The model cannot be served: {error}.", remedy, file=str(file)) from error


def tried(
    version: str,
    kind: ModelKind,
    classes: tuple[Answer, ...],
    schema: Schema,
    estimator: Any,
    rows: Sequence[Row],
    file: Path,
) -> Model:
    """The model with its scale and with the schema that it tolerates.

    Raises:
        ModelError: it fails on its own sample, or gives no plain answers.
    """
    trial = Model(version, kind, classes, schema, estimator, _any_scale(estimator, file))
    # A few rows first: where the model fails everywhere, finding each row at fault would take minutes.
    few = _good(trial, rows[:: max(1, len(rows) // TRIED_FIRST)], HOPELESS_ERROR_RATE, file)
    _require_an_answer_per_row(trial, few, file)
    good = _good(trial, rows, LARGEST_ERROR_RATE, file)
    scale = scale_from(estimator, inputs_of(estimator, frame(schema, good)))
    return replace(trial, scale=scale, features=infer.tried(trial, good))


def _good(trial: Model, rows: Sequence[Row], most_rate: float, file: Path) -> list[Row]:
    """The rows on which the model does not fail.

    Raises:
        ConfigurationError: it fails on a greater share than `most_rate`, in [0, 1].
    """
    scores = trial.score(rows)
    good = [row for row, score in zip(rows, scores, strict=True) if score.error is None]
    if len(rows) - len(good) > most_rate * len(rows):
        raise _failure(trial, rows, good, scores, file)
    return good


def _require_an_answer_per_row(trial: Model, rows: Sequence[Row], file: Path) -> None:
    """Whether rows asked together get an answer each, as those asked alone do.

    A vectorizer of texts takes a table for the list of its column names. Asked about one row with one column it
    gives one answer, which has nothing to do with the row.

    Raises:
        ModelError: they do not.
    """
    columns = len(trial.features.names)
    few = rows[: 3 if columns == 2 else 2]
    given = np.asarray(trial.estimator.predict(inputs_of(trial.estimator, frame(trial.features, few))))
    if given.shape != (len(few),):
        told = (
            f"The model answers {len(few)} rows with {given.size} answers: it reads texts, not the columns of a table."
        )
        remedy = (
            "Put its vectorizer into a ColumnTransformer, which hands it one column by name, and fit it on a table."
        )
        raise ModelError(told, remedy, file=str(file))


def _any_scale(estimator: Any, file: Path) -> ConfidenceScale:
    """A scale to try the model with: whether it answers does not depend on it."""
    try:
        return ConfidenceScale(choose_method(estimator), tuple(np.linspace(0.0, 1.0, QUANTILES).tolist()))
    except ValueError as error:
        remedy = "Wrap it in CalibratedClassifierCV, which gives probabilities."
        raise ModelError(f"The model cannot be served: {error}.", remedy, file=str(file)) from error


def _failure(
    trial: Model, rows: Sequence[Row], good: Sequence[Row], scores: Sequence[Score], file: Path
) -> ConfigurationError:
    """Why a model fails on its own sample, as far as it can be found out."""
    failed = [row for row, score in zip(rows, scores, strict=True) if score.error is not None]
    error = next(score.error for score in scores if score.error is not None)
    if error == "wrong shape":
        remedy = "Fit it on one column of answers (a one-dimensional y), one model per answer."
        return ModelError("The model does not give one plain answer per row.", remedy, file=str(file))
    if good and (names := infer.unbearable(trial, good, failed)):
        told = f"The sample holds missing values of {', '.join(map(repr, names))}, and the model fails on them."
        return ConfigurationError(told, "Give the model an imputer for it, or mend the sample.")
    told = f"The model fails on {len(failed)} of {len(rows)} rows of its own sample: {_said(trial, failed, error)}."
    remedy = "Give the sample that belongs to this model, with the columns as they were in training."
    return ModelError(told, remedy, file=str(file))


def _said(model: Model, failed: Sequence[Row], error: str) -> str:
    """What the model itself said about a row: the sample is the caller's own, so its values may be told."""
    try:
        model.estimator.predict(inputs_of(model.estimator, frame(model.features, failed[:1])))
    except Exception as raised:  # noqa: BLE001 - somebody else's code: whatever it raises is the answer
        said = next(iter(str(raised).splitlines()), "").rstrip(".:")[:LONGEST_COMPLAINT]
        return f"{type(raised).__name__}: {said}"
    return error


def scored(model: Model, rows: Sequence[Row], progress: Progress) -> list[Score]:
    """The model's scores on the whole sample.

    Raises:
        ModelError: it fails on more rows than a healthy period has failures.
    """
    scores: list[Score] = []
    for start in range(0, len(rows), SCORED_AT_ONCE):
        scores.extend(model.score(rows[start : start + SCORED_AT_ONCE]))
        progress(f"Scoring the sample: {len(scores)} of {len(rows)} rows")
    failed = [score.error for score in scores if score.error is not None]
    if len(failed) > LARGEST_ERROR_RATE * len(rows):
        raise ModelError(
            f"The model fails on {len(failed)} of the {len(rows)} rows of the sample ({failed[0]}).",
            "Mend the model or the sample: a healthy period has no failures.",
        )
    return scores
