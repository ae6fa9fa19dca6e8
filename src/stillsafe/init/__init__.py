"""`stillsafe init`: a fitted model and a sample of healthy data in, a service folder to review out."""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Answer
from stillsafe.core.policy import Policy
from stillsafe.core.schema import Row, Schema
from stillsafe.errors import BaselineRefused, ConfigurationError, ModelError
from stillsafe.init import answers, conversion, folder, infer, sample, write
from stillsafe.monitoring import baseline
from stillsafe.serving.confidence import QUANTILES
from stillsafe.serving.model import (
    ConfidenceMethod,
    ConfidenceScale,
    Model,
    ModelKind,
    Score,
    as_text,
    choose_method,
    classes_of,
    frame,
    kind_of,
    read_estimator,
    scale_from,
    sha256_of,
)
from stillsafe.serving.model_input import inputs_of
from stillsafe.settings import DEFAULT_FILE
from stillsafe.store.documents import dumps, to_document

Progress = Callable[[str], None]
SCORED_AT_ONCE = 2_000
LARGEST_ERROR_RATE = 0.01
TRIED_FIRST, HOPELESS_ERROR_RATE = 50, 0.1
VERSION_LENGTH = 8
LONGEST_COMPLAINT = 200
LONGEST_NAME = 100  # of a service or a version, as the settings have it


@dataclass(frozen=True, slots=True)
class Created:
    """What `init` made and found.

    Attributes:
        folder: the service folder.
        kind: classifier or regressor.
        version: the model's version.
        method: where its confidence comes from.
        schema: the features.
        baseline: the reference baseline.
        default: the default answer of the fallback.
        model_score, fallback_score: accuracy in [0, 1] of a classifier, mean absolute error of a regressor, on the
            labelled sample; None without labels.
        warnings: what a person should look at, one sentence each.
    """

    folder: Path
    kind: ModelKind
    version: str
    method: ConfidenceMethod
    schema: Schema
    baseline: Baseline
    default: Answer
    model_score: float | None
    fallback_score: float | None
    warnings: tuple[str, ...]


def create_service(
    model_file: Path,
    sample_file: Path,
    *,
    label: str | None,
    out: Path,
    name: str | None,
    version: str | None,
    trust_joblib: bool,
    force: bool,
    now: datetime,
    salt: str,
    progress: Progress,
) -> Created:
    """Look at a fitted model and a sample of healthy data, and write a service folder.

    Args:
        model_file: the fitted model, skops or (trusted) joblib.
        sample_file: healthy data that the model was not trained on, CSV or Parquet.
        label: the column with the true answers, or None.
        out: the folder to write.
        name: the service's name, or None for the folder's.
        version: the model's version, or None for the start of its hash.
        trust_joblib: whether a joblib file may be opened; it can run any code.
        force: whether an existing service folder gets new settings; its log and its old settings are kept.
        now: the time of making, aware UTC.
        salt: random text for hashed features.
        progress: told what is being done.

    Raises:
        ModelError: the model cannot be served, saying why.
        ConfigurationError: anything else that is wrong, saying what to do.
    """
    place = folder.look(out, force=force)
    version, name = _version(version, model_file, place), _name(name, place)
    progress("Reading the model")
    form = _form(model_file, trust_joblib)
    estimator = _read(model_file, form)
    kind, classes = _servable(estimator, model_file)
    progress("Reading the sample")
    table = sample.read(sample_file)
    given = sample.part(table, estimator, label=label, file=sample_file)
    truth = answers.truths(given.labels, kind, classes)
    described = infer.describe(given.features)
    rows = infer.rows_of(given.features, described.schema)
    progress("Trying the model on the sample")
    with _quietly():
        model = _tried(version, kind, classes, described.schema, estimator, rows, model_file)
        scores = _scored(model, rows, progress)
        converted = conversion.as_skops(model, rows) if form == "joblib" else None
    progress("Making the reference baseline")
    reference, contradictions = _reference(model.features, rows, scores, version, now, salt, given.ordered)
    bare = answers.default(kind, classes, truth, scores)
    worth = answers.worth(kind, truth, scores, bare.answer)
    fallback = answers.priced(bare, kind, worth)
    kept_form, content = (form, model_file.read_bytes()) if converted is None else ("skops", converted)
    digest = hashlib.sha256(content).hexdigest()
    text = write.settings_text(
        service={
            "name": name,
            "mode": "enforce",
            "database": "sqlite:///stillsafe.db",
            "hash_salt": salt,
            **place.inherited,
        },
        model={
            "file": place.numbered(f"model.{kept_form}"),
            "sha256": digest,
            "version": version,
            "format": kept_form,
            "trusted": kept_form == "joblib",
            "reference": place.numbered("reference.json"),
            "timeout": "2s",
        },
        schema=model.features,
        remarks=described.remarks,
        fallback=fallback,
    )
    document = {
        "baseline": to_document(reference),
        "confidence": {"method": model.scale.method.value, "quantiles": list(model.scale.quantiles)},
        "model": {
            "kind": kind.value,
            "classes": list(classes),
            "sklearn_version": sklearn_version(),
            "sha256": digest,
        },
    }
    files = {
        DEFAULT_FILE: text.encode(),
        place.numbered("reference.json"): dumps(document).encode(),
        place.numbered(f"model.{kept_form}"): content,
    }
    with _quietly():
        folder.write(place, files)
    return Created(
        out,
        kind,
        version,
        model.scale.method,
        model.features,
        reference,
        fallback.answer,
        *worth,
        (
            *_warnings(given, scores, place),
            *answers.doubts(fallback, kind, worth),
            *_form_told(form, kept_form),
            *_remarks(described, model.features),
            *sample.swallowed(table, sample_file, given),
            *contradictions,
        ),
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """The model is asked odd things on purpose: what it mutters about them is nobody's concern."""
    told = logging.getLogger("stillsafe.serving.model")
    was = told.disabled
    told.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        told.disabled = was


def sklearn_version() -> str:
    """The version of scikit-learn that reads the model here."""
    import sklearn

    return str(sklearn.__version__)


def _version(version: str | None, model_file: Path, place: folder.Place) -> str:
    """The version under which the model is kept: one that the folder's log does not know yet.

    Raises:
        ConfigurationError: the name is too long, or has been used.
    """
    if version is None:
        _form(model_file, trusted=True)
        digest = sha256_of(model_file)[:VERSION_LENGTH]
        return digest if digest not in place.versions else f"{digest}-{place.generation}"
    if not 0 < len(version) <= LONGEST_NAME:
        raise ConfigurationError(f"A version has 1 to {LONGEST_NAME} characters.", "Name another with --version.")
    if version in place.versions:
        told = f"The version {version!r} has been used in {place.folder}, and its baseline is frozen."
        raise ConfigurationError(told, "Name a new one with --version.")
    return version


def _name(name: str | None, place: folder.Place) -> str:
    chosen = (place.folder.name or "service")[:LONGEST_NAME] if name is None else name
    if not 0 < len(chosen) <= LONGEST_NAME:
        raise ConfigurationError(f"A service's name has 1 to {LONGEST_NAME} characters.", "Name another with --name.")
    return chosen


def _form(model_file: Path, trusted: bool) -> str:
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


def _read(model_file: Path, form: str) -> Any:
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


def _servable(estimator: Any, file: Path) -> tuple[ModelKind, tuple[Answer, ...]]:
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


def _tried(
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


def _scored(model: Model, rows: Sequence[Row], progress: Progress) -> list[Score]:
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


def _reference(
    schema: Schema, rows: Sequence[Row], scores: Sequence[Score], version: str, now: datetime, salt: str, ordered: bool
) -> tuple[Baseline, list[str]]:
    """The reference baseline, and how the halves of the sample contradict each other."""
    found = baseline.reference_columns(
        schema,
        rows,
        [score.confidence for score in scores],
        [None if score.prediction is None else as_text(score.prediction) for score in scores],
        salt=salt,
    )
    try:
        made = baseline.reference_baseline(found, schema, model_version=version, at=now)
    except BaselineRefused as refused:
        raise ConfigurationError(str(refused), "Give a larger sample.") from refused
    told = baseline.contradictions(found, schema, Policy(), now)
    if not told:
        return made, []
    advice = (
        "is all of it healthy?" if ordered else f"shuffle it if it is sorted, or add a `{sample.TIMESTAMP}` column."
    )
    return made, [f"The sample's second half deviates from its first: {advice}", *told]


def _warnings(given: sample.Sample, scores: Sequence[Score], place: folder.Place) -> Iterator[str]:
    if len(scores) < sample.FEW_ROWS:
        yield f"{len(scores)} rows tell little about what is healthy; some thousands are better."
    if given.left_out:
        yield f"Columns that the model does not take were left out: {', '.join(given.left_out)}."
    if given.unlabelled_count:
        yield f"{given.unlabelled_count} rows without a label were left out."
    if failed := sum(score.error is not None for score in scores):
        yield f"The model failed on {failed} rows of the sample."
    if place.generation > 1:
        yield (
            f"The settings before are kept as {place.kept_settings}: take over from them what you had changed. "
            "The log goes on where it was."
        )


def _form_told(given: str, kept: str) -> Iterator[str]:
    if given == "joblib" and kept == "skops":
        yield "The joblib model was saved as skops, which runs no code when it is loaded; it answers as before."
    elif given == "joblib":
        yield (
            "The model stays a joblib file, since skops cannot hold it without further trust: it may run any code "
            "whenever it is loaded, so let nobody else write the folder."
        )


def _remarks(described: infer.Inferred, schema: Schema) -> Iterator[str]:
    yield from (f"{name}: {told}" for name, told in described.remarks.items())
    closed = [spec.name for spec in schema.features if spec.categories is not None]
    if closed:
        yield f"The model fails on categories that it has not learnt, so others are refused: {', '.join(closed)}."
    if shared := write.shared_variables(schema):
        yield f"Fallback rules would call several features the same, so there can be none: {', '.join(shared)}."
