"""`stillsafe init`: a fitted model and a sample of healthy data in, a service folder to review out.

The folder appears whole or not at all: it is written beside its place and renamed.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stillsafe import settings
from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Answer
from stillsafe.core.policy import Policy
from stillsafe.core.schema import Row, Schema
from stillsafe.errors import BaselineRefused, ConfigurationError, ModelError
from stillsafe.init import infer, sample, write
from stillsafe.monitoring import baseline
from stillsafe.serving.model import (
    ConfidenceMethod,
    ConfidenceScale,
    Model,
    ModelKind,
    Score,
    as_text,
    classes_of,
    frame,
    kind_of,
    load,
    read_estimator,
    scale_from,
    sha256_of,
)
from stillsafe.serving.model_input import inputs_of
from stillsafe.store.documents import dumps, to_document

Progress = Callable[[str], None]
SCORED_AT_ONCE = 2_000
LARGEST_ERROR_RATE = 0.01
VERSION_LENGTH = 8


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
        force: whether an existing service folder is replaced.
        now: the time of making, aware UTC.
        salt: random text for hashed features.
        progress: told what is being done.

    Raises:
        ModelError: the model cannot be served, saying why.
        ConfigurationError: anything else that is wrong, saying what to do.
    """
    _refuse_existing(out, force)
    progress("Reading the model")
    form = _form(model_file)
    estimator = read_estimator(model_file, kind=form, trusted=trust_joblib)
    kind, classes = _servable(estimator, model_file)
    progress("Reading the sample")
    given = sample.part(sample.read(sample_file), estimator, label=label, file=sample_file)
    described = infer.describe(given.features)
    rows = infer.rows_of(given.features, described.schema)
    progress("Trying the model on the sample")
    version = version or sha256_of(model_file)[:VERSION_LENGTH]
    scale = _scale(estimator, frame(described.schema, rows), model_file)
    trial = Model(version, kind, classes, described.schema, estimator, scale)
    _refuse_failing(trial, rows[: infer.PROBES], model_file)
    schema = infer.tried(trial, rows)
    model = replace(trial, features=schema)
    scores = _scored(model, rows, progress)
    warnings = [*_warnings(given, scores), *(f"{name}: {told}" for name, told in described.remarks.items())]
    progress("Making the reference baseline")
    reference, contradictions = _reference(schema, rows, scores, version, now, salt)
    default, about_default = _default(kind, classes, given.labels, scores)
    text = write.settings_text(
        service={
            "name": name or out.resolve().name,
            "mode": "enforce",
            "database": "sqlite:///stillsafe.db",
            "hash_salt": salt,
        },
        model={
            "file": f"model.{form}",
            "sha256": sha256_of(model_file),
            "version": version,
            "format": form,
            "trusted": form == "joblib",
            "reference": "reference.json",
            "timeout": "2s",
        },
        schema=schema,
        remarks=described.remarks,
        default=default,
        about_default=about_default,
        example_answer=default,
    )
    document = {
        "baseline": to_document(reference),
        "confidence": {"method": scale.method.value, "quantiles": list(scale.quantiles)},
        "model": {"kind": kind.value, "classes": list(classes), "sha256": sha256_of(model_file)},
    }
    _write_folder(out, model_file, f"model.{form}", text, dumps(document))
    return Created(
        out,
        kind,
        version,
        scale.method,
        schema,
        reference,
        default,
        *_worth(kind, given.labels, scores, default),
        (*warnings, *contradictions),
    )


def _refuse_existing(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / settings.DEFAULT_FILE).exists()):
        raise ConfigurationError(f"{out} exists and is no service folder.", "Name another place with --out.")
    if any(out.iterdir()) and not force:
        raise ConfigurationError(
            f"{out} is a service folder already.", "Name another place, or replace it with --force."
        )


def _form(model_file: Path) -> str:
    """`skops` or `joblib`: a skops file is a zip archive, whatever its name."""
    try:
        with model_file.open("rb") as handle:
            return "skops" if handle.read(2) == b"PK" else "joblib"
    except OSError as error:
        told = error.strerror or str(error)
        raise ModelError(f"The model cannot be read: {told}.", "Check --model.", file=str(model_file)) from error


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
    except (ValueError, TypeError) as error:
        remedy = "Stillsafe serves fitted scikit-learn classifiers and regressors with one answer per row."
        raise ModelError(f"The model cannot be served: {error}.", remedy, file=str(file)) from error


def _scale(estimator: Any, table: pd.DataFrame, file: Path) -> ConfidenceScale:
    try:
        return scale_from(estimator, inputs_of(estimator, table))
    except Exception as error:
        told = f"The model fails on its own sample: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
        remedy = "Give the sample that belongs to this model, with the columns as they were in training."
        raise ModelError(told.rstrip(".") + ".", remedy, file=str(file)) from error


def _refuse_failing(model: Model, rows: Sequence[Row], file: Path) -> None:
    error = next((score.error for score in model.score(rows) if score.error), None)
    if error == "wrong shape":
        remedy = "Stillsafe serves models with one answer per row: serve each output as a model of its own."
        raise ModelError("The model gives several answers for a row.", remedy, file=str(file))
    if error is not None:
        remedy = "Give the sample that belongs to this model, with the columns as they were in training."
        raise ModelError(f"The model fails on its own sample: {error}.", remedy, file=str(file))


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
    schema: Schema, rows: Sequence[Row], scores: Sequence[Score], version: str, now: datetime, salt: str
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
    if told:
        told = ["The sample's second half deviates from its first; is all of it healthy?", *told]
    return made, told


def _warnings(given: sample.Sample, scores: Sequence[Score]) -> list[str]:
    warnings = []
    if len(scores) < sample.FEW_ROWS:
        warnings.append(f"{len(scores)} rows tell little about what is healthy; some thousands are better.")
    if given.left_out:
        warnings.append(f"Columns that the model does not take were left out: {', '.join(given.left_out)}.")
    if failed := sum(score.error is not None for score in scores):
        warnings.append(f"The model failed on {failed} rows of the sample.")
    return warnings


def _default(
    kind: ModelKind, classes: Sequence[Answer], labels: "pd.Series[Any] | None", scores: Sequence[Score]
) -> tuple[Answer, str]:
    """The conservative default: the commonest class, or the median; of the labels, or else of the model's answers."""
    answers = [score.prediction for score in scores if score.prediction is not None]
    whose = "the sample's labels" if labels is not None else "the model's own answers on the sample"
    if kind is ModelKind.REGRESSOR:
        values = pd.to_numeric(labels) if labels is not None else pd.Series(answers, dtype=float)
        return float(np.round(values.median(), 6)), f"The median of {whose}."
    seen = [_class_of(value, classes) for value in (labels.tolist() if labels is not None else answers)]
    commonest = pd.Series([c for c in seen if c is not None], dtype=object).mode()
    if commonest.empty:
        told = "None of the sample's labels is a class of the model."
        raise ConfigurationError(told, "Name the column with the true answers with --label.")
    chosen = classes[[as_text(c) for c in classes].index(as_text(commonest.iloc[0]))]
    return chosen, f"The commonest class of {whose}."


def _class_of(value: Any, classes: Sequence[Answer]) -> Answer | None:
    """The model's own class for a label: CSV reads True for true and 1.0 for 1."""
    plain = value.item() if isinstance(value, np.generic) else value
    return next((c for c in classes if c == plain or as_text(c) == str(plain)), None)


def _worth(
    kind: ModelKind, labels: "pd.Series[Any] | None", scores: Sequence[Score], default: Answer
) -> tuple[float | None, float | None]:
    """The model's score on the labelled sample, and the fallback's."""
    if labels is None:
        return None, None
    pairs = [(s.prediction, t) for s, t in zip(scores, labels.tolist(), strict=True) if s.prediction is not None]
    if kind is ModelKind.REGRESSOR:
        truth = np.array([float(t) for _, t in pairs])
        own = np.array([float(p) for p, _ in pairs])
        return float(np.abs(own - truth).mean()), float(np.abs(float(default) - truth).mean())
    right = [_class_of(t, [p]) is not None for p, t in pairs]
    by_default = [_class_of(t, [default]) is not None for _, t in pairs]
    return float(np.mean(right)), float(np.mean(by_default))


def _write_folder(out: Path, model_file: Path, model_name: str, text: str, reference: str) -> None:
    """Write the folder beside its place, try it as the service would, and rename it."""
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        (fresh / settings.DEFAULT_FILE).write_text(text, encoding="utf-8")
        (fresh / "reference.json").write_text(reference, encoding="utf-8")
        shutil.copyfile(model_file, fresh / model_name)
        load(settings.load(fresh / settings.DEFAULT_FILE))
        if out.exists():
            shutil.rmtree(out)
        fresh.rename(out)
    except OSError as error:
        raise ConfigurationError(f"The folder {out} cannot be written: {error}.", "Name another place.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
