"""Load the model that the settings name: verify the hash, parse the file, and check that it fits the schema."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillsafe.errors import ModelError, NoModel
from stillsafe.logs import LogEvent, log_event
from stillsafe.model.artifact import parse_estimator, read_verified
from stillsafe.model.boosters.adapter import BoosterModel
from stillsafe.model.compiled import equivalence
from stillsafe.model.compiled.predictors import CannotCompile
from stillsafe.model.confidence import QUANTILES, ConfidenceScale, choose_method
from stillsafe.model.external import NEEDS_MODEL, external_model
from stillsafe.model.model import Model, classes_of, kind_of
from stillsafe.model.probe_rows import has_arbitrary_category, probe_row
from stillsafe.model.reference import REMEDY, Reference, read_reference
from stillsafe.settings import Settings

logger = logging.getLogger(__name__)


def load_model(settings: Settings) -> Model:
    """Load the model that the settings name and run it on one probe row; an external model is described only.

    Raises:
        ModelError: the hash differs, the file holds untrusted types, or the model does not fit the schema.
        ConfigurationError: a module of the owner cannot be imported.
    """
    if settings.model.external:
        return external_model(settings, read_reference(settings.path(settings.model.reference)))
    file, path = settings.model, settings.path(settings.model.file)
    content = read_verified(path, file.sha256)
    settings.own_modules.load()
    estimator = parse_estimator(content, path, kind=file.format, trusted=file.trusted, trusted_types=file.trusted_types)
    _use_one_job(estimator)
    if isinstance(estimator, BoosterModel):
        estimator = _with_names(estimator, settings, path)
    reference = read_reference(settings.path(file.reference))
    schema = settings.schema_of_features
    try:
        kind, classes = kind_of(estimator), classes_of(estimator)
        model = Model(file.version, kind, classes, schema, estimator, _scale(estimator, reference))
    except ValueError as error:
        raise ModelError(f"The model cannot be served: {error}.", REMEDY, file=str(path)) from error
    if problem := fit_problem(model, reference):
        raise ModelError(f"The model does not fit the schema: {problem}.", REMEDY, file=str(path))
    return _compile(model, reference) if file.compiled else model


def load_scoring_model(settings: Settings, task: str) -> Model:
    """Load a model that scores rows; raises as `load_model`.

    Args:
        settings: of the service.
        task: what needs it, a key of `NEEDS_MODEL`.

    Raises:
        NoModel: the model runs elsewhere.
    """
    if settings.model.external:
        raise NoModel(NEEDS_MODEL[task])
    return load_model(settings)


def fit_problem(model: Model, reference: Reference) -> str | None:
    """Why a model cannot serve its schema, or None if it can.

    Compares feature names or their number, then runs the model on a probe row. A failure on a probe row with a made-up
    category proves nothing, so it is ignored.
    """
    if problem := _features_problem(model):
        return problem
    error = model.score([probe_row(model.features, reference)])[0].error
    if error is None or has_arbitrary_category(model.features, reference):
        return None
    return f"it fails on a probe row ({error})"


def features_required_by_model(model: Model, reference: Reference) -> list[str]:
    """Features that the schema allows to be missing, but without which the model fails on a probe row.

    The fallback answers a request without one of them. The list is empty if the model fails on the complete probe row.
    """
    row = probe_row(model.features, reference)
    optional_names = [spec.name for spec in model.features.features if not spec.required]
    complete, *incomplete = model.score([row, *({**row, name: None} for name in optional_names)])
    if complete.error:
        return []
    return [name for name, score in zip(optional_names, incomplete, strict=True) if score.error]


def _with_names(booster: BoosterModel, settings: Settings, path: Path) -> BoosterModel:
    """The booster with the names of its classes and columns that its file lacks."""
    booster.take_names(settings.schema_of_features.names)
    if not settings.model.classes:
        return booster
    try:
        return booster.with_classes(settings.model.classes)
    except ModelError as error:
        raise ModelError(f"`model.classes` does not fit. {error.problem}", error.remedy, file=str(path)) from error


def _compile(model: Model, reference: Reference) -> Model:
    """The compiled model if it passes the equivalence check again: scikit-learn may have changed since `init`."""
    try:
        return equivalence.compile_verified(model, reference)
    except CannotCompile as error:
        fields = {"why": str(error), "instead": "scikit-learn predicts"}
        log_event(logger, LogEvent.NOT_COMPILED, fields)
        return model


def _features_problem(model: Model) -> str | None:
    names, fitted_names = model.features.names, getattr(model.estimator, "feature_names_in_", None)
    if fitted_names is None:
        count = getattr(model.estimator, "n_features_in_", len(names))
        problem = f"it was fitted with {count} features, and the settings describe {len(names)}"
        return None if count == len(names) else problem
    absent = ", ".join(repr(str(name)) for name in fitted_names if name not in names)
    unknown = ", ".join(repr(name) for name in names if name not in set(fitted_names))
    problems = [f"the settings lack {absent}"] if absent else []
    return " and ".join([*problems, *([f"the model was not fitted with {unknown}"] if unknown else [])]) or None


def _use_one_job(estimator: Any) -> None:
    """Set every `n_jobs` to 1: for the few rows of a request, starting threads costs more than they save."""
    jobs = {
        name: 1
        for name, value in estimator.get_params().items()
        if name.split("__")[-1] == "n_jobs" and value not in (None, 1)
    }
    estimator.set_params(**jobs)


def _scale(estimator: Any, reference: Reference) -> ConfidenceScale:
    method = choose_method(estimator)
    scale = reference.confidence
    if method.is_share:
        return ConfidenceScale(method, of_answer=scale is not None and scale.of_answer)
    if scale is None or scale.method is not method:
        raise ValueError(f"its confidence ({method.value}) needs a scale, which the reference file lacks")
    if len(scale.quantiles) != QUANTILES or not _is_increasing(scale.quantiles):
        raise ValueError(f"the reference file's confidence scale is not {QUANTILES} increasing numbers")
    return scale


def _is_increasing(numbers: Sequence[float]) -> bool:
    return all(map(math.isfinite, numbers)) and list(numbers) == sorted(numbers)
