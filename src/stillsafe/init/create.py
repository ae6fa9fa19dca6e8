"""`stillsafe init`: read a fitted model and a sample of healthy data, and write a service folder for review."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Answer
from stillsafe.core.policy import Policy
from stillsafe.core.schema import Row, Schema
from stillsafe.core.score import Score
from stillsafe.errors import BaselineRefused, ConfigurationError
from stillsafe.init import (
    conversion,
    default_answer,
    impact_study,
    infer,
    inspect,
    rule_search,
    sample,
    service_folder,
    write,
)
from stillsafe.init.service_folder import ServiceFolder
from stillsafe.model.artifact import sha256_of
from stillsafe.model.compiled import equivalence
from stillsafe.model.compiled.predictors import CannotCompile
from stillsafe.model.confidence import ConfidenceMethod
from stillsafe.model.model import Model, ModelKind
from stillsafe.model.reference import NO_REFERENCE, ModelFacts, Reference
from stillsafe.monitoring import baseline
from stillsafe.monitoring.columns import Columns
from stillsafe.own_modules import OwnModules
from stillsafe.progress import Progress, no_progress
from stillsafe.settings import DEFAULT_FILE
from stillsafe.table_file import TIMESTAMP

VERSION_LENGTH = 8
SEED = 0
"""Seed of the search for fallback rules."""
LONGEST_NAME = 100
"""Longest name of a service or version, as in the settings."""


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """What to create a service from.

    Attributes:
        model_file: the fitted model, skops or (if trusted) joblib.
        sample_file: healthy data that the model was not trained on, CSV or Parquet.
        out: the folder to write.
        now: the time of creation, aware UTC.
        salt: random text for hashed features.
        label: name of the label column, or None.
        name: the service's name, or None for the name of the folder.
        version: the model's version, or None for the start of its hash.
        trust_joblib: whether a joblib file may be opened; it can run any code.
        force: whether an existing service folder gets new settings; its log and its previous settings are kept.
        python_path: folders of the owner's modules that the model needs; folders that PYTHONPATH adds are found.
        modules: modules to import before the model is loaded.
    """

    model_file: Path
    sample_file: Path
    out: Path
    now: datetime
    salt: str
    label: str | None = None
    name: str | None = None
    version: str | None = None
    trust_joblib: bool = False
    force: bool = False
    python_path: tuple[Path, ...] = ()
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreatedService:
    """The service that `init` wrote, and what it measured.

    Attributes:
        folder: the service folder.
        kind: classifier or regressor.
        version: the model's version.
        method: source of the model's confidence.
        schema: the features.
        baseline: the reference baseline.
        default: the default answer of the fallback.
        model_score, fallback_score: on the labelled sample, accuracy in [0, 1] of a classifier or mean absolute error
            of a regressor; None without labels. With fallback rules, `fallback_score` is the score of the rules on
            held-out rows.
        warnings: what a person should check, one sentence each.
        proposal: the fallback rules and their evaluation on held-out rows.
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
    proposal: rule_search.Proposal


@dataclass(frozen=True, slots=True)
class _SampleData:
    """The sample: the table as read, its columns, the inferred schema, the rows, and the labels, if it has any."""

    table: pd.DataFrame
    columns: sample.Sample
    schema: infer.InferredSchema
    rows: list[Row]
    labels: list[Answer | None] | None


@dataclass(frozen=True, slots=True)
class _ServedModel:
    """The model as the service will load it: its file, its scores on the sample, and warnings about it."""

    model: Model
    file_format: str
    content: bytes
    scores: list[Score]
    warnings: list[str]

    @property
    def sha256(self) -> str:
        """Hash of the model file."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class _ProposedFallback:
    """The default answer, the rules before it, and the scores of model and default on the labelled sample."""

    default: default_answer.DefaultAnswer
    proposal: rule_search.Proposal
    scores: default_answer.SampleScores

    def warnings(self, kind: ModelKind) -> Iterator[str]:
        """What a person should check about the fallback, one sentence each."""
        yield from default_answer.comparison_warnings(self.default, kind, self.scores, self.proposal)
        yield from default_answer.rule_warnings(self.proposal)


def create_service(request: ServiceRequest, progress: Progress = no_progress) -> CreatedService:
    """Inspect a fitted model and a sample of healthy data, and write a service folder.

    Args:
        request: the inputs and options.
        progress: called with the activity and the share of it that is complete.

    Raises:
        ModelError: the model cannot be served.
        ConfigurationError: the sample, an option or the folder is invalid.
    """
    folder = service_folder.inspect_folder(request.out, force=request.force)
    version, name = _version(request, folder), _name(request.name, folder)
    progress("Reading the model", None)
    estimator, file_format, own_modules = _read_model(request, folder)
    kind, classes = inspect.kind_and_classes(estimator, request.model_file)
    progress("Reading the sample", None)
    data = _read_sample(request, estimator, kind, classes)
    progress("Probing the model on the sample", None)
    scale = inspect.probe_scale(estimator, request.model_file)
    candidate = Model(version, kind, classes, data.schema.schema, estimator, scale)
    served_model = _serve_model(candidate, data, request.model_file, file_format, progress)
    progress("Making the reference baseline", None)
    reference, baseline_warnings = _reference(served_model, data, request, progress)
    fallback = _fallback(served_model, data)
    service = {"name": name, "mode": "enforce", "database": "sqlite:///stillsafe.db", "hash_salt": request.salt}
    text = write.settings_text(
        service=service | dict(folder.log_settings),
        model=_model_section(folder, served_model, own_modules),
        schema=served_model.model.features,
        remarks=data.schema.remarks,
        fallback=fallback.default,
        proposal=fallback.proposal,
    )
    with inspect.suppress_warnings():
        service_folder.write(folder, _files(folder, served_model, reference, text))
    return CreatedService(
        request.out,
        kind,
        version,
        served_model.model.scale.method,
        served_model.model.features,
        reference,
        fallback.default.answer,
        *default_answer.scores_with_rules(fallback.scores, fallback.proposal),
        (
            *_sample_warnings(data, served_model.scores, folder),
            *fallback.warnings(kind),
            *served_model.warnings,
            *_schema_warnings(data.schema, served_model.model.features),
            *sample.values_read_as_missing(data.table, request.sample_file, data.columns),
            *baseline_warnings,
        ),
        fallback.proposal,
    )


def _read_sample(request: ServiceRequest, estimator: Any, kind: ModelKind, classes: tuple[Answer, ...]) -> _SampleData:
    texts = sample.text_columns(request.sample_file, estimator, request.label)
    table = sample.read(request.sample_file, texts)
    columns = sample.split_columns(table, estimator, label=request.label, file=request.sample_file)
    labels = default_answer.sample_labels(columns.labels, kind, classes)
    schema = infer.describe(columns.features)
    rows = infer.rows_of(columns.features, schema.schema)
    scale = inspect.probe_scale(estimator, request.model_file)
    with inspect.suppress_warnings():
        schema = infer.with_measures(schema, Model("", kind, classes, schema.schema, estimator, scale), rows)
    return _SampleData(table, columns, schema, infer.rows_of(columns.features, schema.schema), labels)


@inspect.suppress_warnings()
def _serve_model(candidate: Model, data: _SampleData, file: Path, file_format: str, progress: Progress) -> _ServedModel:
    """The model with its scale and tolerated schema; as skops and compiled, if its predictions stay the same."""
    model = inspect.probe_model(candidate, data.rows, file)
    scores = inspect.score_sample(model, data.rows, progress)
    skops_content = conversion.as_skops(model, data.rows) if file_format == "joblib" else None
    content = file.read_bytes() if skops_content is None else skops_content
    warnings = []
    if skops_content is not None:
        warnings.append(
            "The joblib model was saved as skops, which runs no code when it is loaded; its predictions are the same."
        )
    elif file_format == "joblib":
        warnings.append(
            "The model stays a joblib file, because skops cannot store it without trusting further types. A joblib "
            "file can run any code when it is loaded, so restrict write access to the folder."
        )
    try:
        model = equivalence.compile_verified(model, NO_REFERENCE, data.rows)
    except CannotCompile as error:
        warnings.append(f"The model is not compiled, so scikit-learn predicts, which is slower: {error}.")
    return _ServedModel(model, file_format if skops_content is None else "skops", content, scores, warnings)


def _reference(
    served_model: _ServedModel, data: _SampleData, request: ServiceRequest, progress: Progress
) -> tuple[Baseline, list[str]]:
    """The reference baseline with the impact study, and warnings if the halves of the sample deviate."""
    model, scores = served_model.model, served_model.scores
    columns = baseline.reference_columns(
        model.features,
        data.rows,
        [score.confidence for score in scores],
        [score.text for score in scores],
        salt=request.salt,
    )
    try:
        reference = baseline.reference_baseline(columns, model.features, model_version=model.version, at=request.now)
    except BaselineRefused as refusal:
        raise ConfigurationError(str(refusal), "Give a larger sample.") from refusal
    warnings = _deviation_warnings(columns, model.features, request.now, data.columns.in_time_order)
    with inspect.suppress_warnings():
        harm = impact_study.study_impact(model, data.rows, scores, data.labels, columns, reference, progress)
    return replace(reference, harm=harm), warnings


def _fallback(served_model: _ServedModel, data: _SampleData) -> _ProposedFallback:
    kind, labels = served_model.model.kind, data.labels
    default = default_answer.choose_default(kind, served_model.model.classes, labels, served_model.scores)
    scores = default_answer.score_on_sample(kind, labels, served_model.scores, default.answer)
    predictions = [score.prediction for score in served_model.scores]
    schema = served_model.model.features
    proposal = rule_search.propose(schema, data.rows, labels, kind, default.answer, SEED, predictions)
    return _ProposedFallback(default_answer.describe_scores(default, kind, scores, proposal), proposal, scores)


def _read_model(request: ServiceRequest, folder: ServiceFolder) -> tuple[Any, str, OwnModules]:
    """The estimator, the format of its file, and the owner's modules that it needs.

    The request names the modules or, without any there, the previous settings.
    """
    file_format = inspect.file_format(request.model_file, request.trust_joblib)
    folders = tuple(each.resolve() for each in request.python_path) or folder.own_modules.folders
    own_modules = OwnModules(folders, request.modules or folder.own_modules.names)
    estimator, own_modules = inspect.read_with_own_modules(request.model_file, file_format, own_modules)
    return estimator, file_format, own_modules


def _model_section(folder: ServiceFolder, served_model: _ServedModel, own_modules: OwnModules) -> dict[str, Any]:
    written_modules: dict[str, list[str]] = {
        "python_path": [os.path.relpath(each, folder.path) for each in own_modules.folders],
        "modules": list(own_modules.names),
    }
    return {
        "file": folder.file_name(f"model.{served_model.file_format}"),
        "sha256": served_model.sha256,
        "version": served_model.model.version,
        "format": served_model.file_format,
        "trusted": served_model.file_format == "joblib",
        "reference": folder.file_name("reference.json"),
        "timeout": "2s",
        "compiled": served_model.model.compiled is not None,
        **{key: names for key, names in written_modules.items() if names},
    }


def _files(
    folder: ServiceFolder, served_model: _ServedModel, reference: Baseline, settings_text: str
) -> dict[str, bytes]:
    """File name -> content of the folder: settings, reference and model."""
    model = served_model.model
    check = model.compiled.equivalence if model.compiled is not None else None
    facts = ModelFacts(model.kind, model.classes, sklearn_version(), served_model.sha256, check)
    return {
        DEFAULT_FILE: settings_text.encode(),
        folder.file_name("reference.json"): Reference(reference, model.scale, facts).to_json().encode(),
        folder.file_name(f"model.{served_model.file_format}"): served_model.content,
    }


def sklearn_version() -> str:
    """The installed version of scikit-learn."""
    import sklearn

    return str(sklearn.__version__)


def _version(request: ServiceRequest, folder: ServiceFolder) -> str:
    """The model's version: one that the folder has not used yet.

    Raises:
        ConfigurationError: the version is too long or already used.
    """
    version = request.version
    if version is None:
        inspect.file_format(request.model_file, trusted=True)
        digest = sha256_of(request.model_file)[:VERSION_LENGTH]
        return digest if digest not in folder.versions else f"{digest}-{folder.generation}"
    if not 0 < len(version) <= LONGEST_NAME:
        raise ConfigurationError(f"A version has 1 to {LONGEST_NAME} characters.", "Name another with --version.")
    if version in folder.versions:
        problem = f"The version {version!r} has been used in {folder.path}, and its baseline is frozen."
        raise ConfigurationError(problem, "Name a new one with --version.")
    return version


def _name(name: str | None, folder: ServiceFolder) -> str:
    service_name = (folder.path.name or "service")[:LONGEST_NAME] if name is None else name
    if not 0 < len(service_name) <= LONGEST_NAME:
        raise ConfigurationError(f"A service's name has 1 to {LONGEST_NAME} characters.", "Name another with --name.")
    return service_name


def _deviation_warnings(columns: Columns, schema: Schema, now: datetime, in_time_order: bool) -> list[str]:
    sentences = baseline.contradictions(columns, schema, Policy(), now)
    if not sentences:
        return []
    advice = (
        "check that all of it is healthy."
        if in_time_order
        else f"shuffle it if it is sorted, or add a `{TIMESTAMP}` column."
    )
    return [f"The second half of the sample deviates from the first: {advice}", *sentences]


def _sample_warnings(data: _SampleData, scores: Sequence[Score], folder: ServiceFolder) -> Iterator[str]:
    if len(scores) < sample.FEW_ROWS:
        yield f"The sample has only {len(scores)} rows; some thousands give a more precise baseline."
    if data.columns.left_out:
        yield f"Columns that the model does not take were left out: {', '.join(data.columns.left_out)}."
    if data.columns.unlabelled_count:
        yield f"{data.columns.unlabelled_count} rows without a label were left out."
    if failure_count := sum(score.error is not None for score in scores):
        yield f"The model failed on {failure_count} rows of the sample."
    if folder.generation > 1:
        yield (
            f"The previous settings are saved as {folder.previous_settings}: copy your changes from there. The "
            "prediction log stays in the same database."
        )


def _schema_warnings(inferred_schema: infer.InferredSchema, schema: Schema) -> Iterator[str]:
    yield from (f"{name}: {remark}" for name, remark in inferred_schema.remarks.items())
    yield from inferred_schema.certainty
    if closed_features := [spec.name for spec in schema.features if spec.categories is not None]:
        yield (
            "The model fails on categories that it was not trained on, so requests with other categories are refused: "
            f"{', '.join(closed_features)}."
        )
    if variables := write.shared_variables(schema):
        yield f"Several features have the same name in fallback rules, so there are no rules: {', '.join(variables)}."
