"""`stillsafe init`: read a fitted model and a sample of healthy data, and write a service folder for review."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Schema
from stillsafe.core.score import Score
from stillsafe.errors import ConfigurationError
from stillsafe.init import (
    conversion,
    default_answer,
    infer,
    inspect,
    metric_choice,
    rule_pricing,
    rule_search,
    sample,
    service_folder,
    write,
)
from stillsafe.init.date_columns import untimed_sentences
from stillsafe.init.named_features import NamedFeatures, name_complete_features
from stillsafe.init.read_sample import SampleData, SampleSource, name_doubtful_columns, read_sample
from stillsafe.init.recorded_answers import AnswerColumns, missing_sentences, read_recorded_answers
from stillsafe.init.reference_file import model_facts, reference_content
from stillsafe.init.reference_study import ReferenceRequest, ReferenceSample, study_reference
from stillsafe.init.rule_proposal import Proposal
from stillsafe.init.second_models import important_features, with_second_models
from stillsafe.init.service_folder import ServiceFolder
from stillsafe.init.time_zone import choose_time_zone
from stillsafe.model.compiled import equivalence
from stillsafe.model.compiled.predictors import CannotCompile
from stillsafe.model.confidence import ConfidenceMethod
from stillsafe.model.library_versions import origin_sentence
from stillsafe.model.model import Model, ModelKind
from stillsafe.model.reference import NO_REFERENCE
from stillsafe.monitoring.clock_sentences import clock_sentences
from stillsafe.monitoring.disclosure import Disclosure
from stillsafe.own_modules import OwnModules
from stillsafe.progress import Progress, no_progress
from stillsafe.settings import DEFAULT_FILE
from stillsafe.table_file import ANY_FORMAT, TableFormat

SEED = 0  # of the search for fallback rules


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """What to create a service from.

    Attributes:
        model_file: the fitted model: skops, a booster's own format, or (if trusted) joblib; None of an external model.
        sample_file: healthy data that the model was not trained on, CSV or Parquet.
        out: the folder to write.
        now: the time of creation, aware UTC.
        salt: random text for hashed features.
        label: name of the label column, or None.
        name: the service's name, or None for the name of the folder.
        version: the model's version, or None for the start of its hash.
        trust_joblib: whether a joblib file may be opened; it can run any code.
        force: whether an existing service folder gets new settings; its log and its previous settings are kept.
        fallback_models: whether second models are trained for the fallback, without the features that may be damaged.
        python_path: folders of the owner's modules that the model needs; folders that PYTHONPATH adds are found.
        modules: modules to import before the model is loaded.
        trusted_types: exact names of further types that a skops file may contain.
        harm: keys of the section `[harm]`: the owner's metric and what it depends on.
        form: how a CSV sample is written, as far as the owner states it.
        classes: names for the classes of a booster's file, which has 0, 1 and so on; empty to leave them. All classes
            of an external classifier, where the sample does not show them.
        answers: the columns with the answers of an external model, or None.
    """

    model_file: Path | None
    sample_file: Path
    out: Path
    now: datetime
    salt: str
    label: str | None = None
    name: str | None = None
    version: str | None = None
    trust_joblib: bool = False
    force: bool = False
    fallback_models: bool = False
    python_path: tuple[Path, ...] = ()
    modules: tuple[str, ...] = ()
    trusted_types: tuple[str, ...] = ()
    harm: Mapping[str, Any] = field(default_factory=dict)
    form: TableFormat = ANY_FORMAT
    classes: tuple[str, ...] = ()
    answers: AnswerColumns | None = None

    @property
    def sample_source(self) -> SampleSource:
        """Where the sample is, for reading it."""
        return SampleSource(self.model_file, self.sample_file, self.label, self.form)


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
        metric_reason: why the loss is estimated in another metric than accuracy; empty if it is not.
        is_external: whether the model runs elsewhere.
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
    proposal: Proposal
    metric_reason: str = ""
    is_external: bool = False


@dataclass(frozen=True, slots=True)
class _ModelFile:
    """The file of the fitted model, its format by content, and further types that it may have."""

    path: Path
    format: str
    trusted_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _ServedModel:
    """The model as the service will load it: its file, its scores on the sample, and warnings about it.

    An external model has no file.
    """

    model: Model
    file: conversion.StoredModel | None
    scores: list[Score]
    warnings: list[str]

    @property
    def sha256(self) -> str:
        """Hash of the model file."""
        return "" if self.file is None else hashlib.sha256(self.file.content).hexdigest()


@dataclass(frozen=True, slots=True)
class _ProposedFallback:
    """The default answer, the rules before it, and the scores of model and default on the labelled sample."""

    default: default_answer.DefaultAnswer
    proposal: Proposal
    scores: default_answer.SampleScores
    files: dict[str, bytes]

    def warnings(self, kind: ModelKind) -> Iterator[str]:
        """What a person should check about the fallback, one sentence each."""
        yield from default_answer.comparison_warnings(self.default, kind, self.scores, self.proposal)
        yield from default_answer.rule_warnings(self.proposal)


@dataclass(frozen=True, slots=True)
class _Study:
    """What was measured on the sample, and what a person should check about it, one sentence each."""

    choice: metric_choice.MetricChoice
    timezone: str
    reference: Baseline
    fallback: _ProposedFallback
    warnings: tuple[str, ...]


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
    version = service_folder.model_version(folder, request.model_file, request.version)
    name = service_folder.service_name(folder, request.name)
    if request.model_file is None:
        served_model, data, own_modules = _read_external(request, folder, version, progress)
    else:
        served_model, data, own_modules = _read_inputs(request, request.model_file, folder, version, progress)
    study = _study(request, folder, served_model, data, progress)
    features = name_complete_features(served_model.model.features, data.rows)
    service = {"name": name, "mode": "enforce", "database": "sqlite:///stillsafe.db", "hash_salt": request.salt}
    service |= {} if data.columns.times is None else {"timezone": study.timezone}
    text = write.settings_text(
        service=service | dict(folder.log_settings),
        model=_model_section(folder, served_model, own_modules, request.trusted_types),
        schema=features.schema,
        remarks=data.schema.remarks,
        owners={"harm": study.choice.section, "min_count": folder.min_count},
        fallback=study.fallback.default,
        proposal=study.fallback.proposal,
    )
    with inspect.suppress_warnings():
        service_folder.write(folder, _files(folder, served_model, study.reference, text) | study.fallback.files)
    return CreatedService(
        request.out,
        served_model.model.kind,
        version,
        served_model.model.scale.method,
        features.schema,
        study.reference,
        study.fallback.default.answer,
        *default_answer.scores_with_rules(study.fallback.scores, study.fallback.proposal),
        (
            *_sample_warnings(data, served_model.scores, folder),
            *_schema_warnings(data.schema, features),
            *data.remarks,
            *study.warnings,
        ),
        study.fallback.proposal,
        study.choice.reason,
        served_model.model.is_external,
    )


def _read_inputs(
    request: ServiceRequest, file: Path, folder: ServiceFolder, version: str, progress: Progress
) -> tuple[_ServedModel, SampleData, OwnModules]:
    """The model, the sample, and the owner's modules that the model needs."""
    progress("Reading the model", None)
    estimator, file_format, own_modules = _read_model(request, file, folder)
    kind, classes = inspect.kind_and_classes(estimator, file)
    progress("Reading the sample", None)
    data = read_sample(request.sample_source, estimator, kind, classes)
    progress("Probing the model on the sample", None)
    scale = inspect.probe_scale(estimator, file)
    candidate = Model(version, kind, classes, data.schema.schema, estimator, scale)
    model_file = _ModelFile(file, file_format, request.trusted_types)
    return _serve_model(candidate, data, model_file, folder.min_count, progress), data, own_modules


def _read_external(
    request: ServiceRequest, folder: ServiceFolder, version: str, progress: Progress
) -> tuple[_ServedModel, SampleData, OwnModules]:
    """An external model, and the sample with its answers.

    Raises:
        ConfigurationError: the request names neither a model nor answers.
    """
    if request.answers is None:
        raise ConfigurationError("There is neither a model nor a column of answers.", "Give --model or --predictions.")
    progress("Reading the sample", None)
    answers = read_recorded_answers(request.sample_source, request.answers, version, folder.min_count)
    sentences = missing_sentences(answers.data.labels is not None, answers.scores)
    served_model = _ServedModel(answers.model, None, answers.scores, [*answers.warnings, *sentences])
    return served_model, answers.data, folder.own_modules


def _study(
    request: ServiceRequest, folder: ServiceFolder, served_model: _ServedModel, data: SampleData, progress: Progress
) -> _Study:
    """Measure the sample: metric, time zone, reference and fallback."""
    progress("Making the reference baseline", None)
    owners_harm = dict(request.harm or folder.harm)
    choice = metric_choice.choose_metric(served_model.model, served_model.scores, data.labels, owners_harm)
    disclosure = Disclosure(folder.min_count, folder.log_settings.get("hash_salt", request.salt))
    timezone, zone_warnings = _time_zone(data, folder)
    reference_request = ReferenceRequest(request.now, disclosure, choice.definitions, timezone=timezone)
    order = data.columns.in_time_order, data.columns.times
    healthy_sample = ReferenceSample(data.rows, served_model.scores, data.labels, *order)
    reference, baseline_warnings = study_reference(served_model.model, healthy_sample, reference_request, progress)
    leant_on = important_features(reference) if request.fallback_models else None
    fallback = _fallback(served_model, data, choice, folder, leant_on)
    rough_names = [each.view.of for each in reference.features.values() if each.view and each.view.is_rough]
    date_warnings = untimed_sentences(rough_names)
    warnings = (
        *zone_warnings,
        *clock_sentences(reference),
        *date_warnings,
        *_model_warnings(served_model, choice, fallback),
    )
    return _Study(choice, timezone, reference, fallback, (*warnings, *baseline_warnings))


def _time_zone(data: SampleData, folder: ServiceFolder) -> tuple[str, list[str]]:
    """The time zone of the previous settings, or a proposal and the sentence about it."""
    zone = choose_time_zone(data.rows, data.columns.times)
    timezone = folder.log_settings.get("timezone", zone.name)
    timezone = timezone if timezone in available_timezones() else zone.name
    return timezone, [zone.reason] if zone.reason and timezone == zone.name else []


def _model_warnings(
    served_model: _ServedModel, choice: metric_choice.MetricChoice, fallback: _ProposedFallback
) -> Iterator[str]:
    yield from choice.warnings
    yield from metric_choice.default_warning(choice, fallback.default.answer)
    yield from fallback.warnings(served_model.model.kind)
    yield from served_model.warnings


@inspect.suppress_warnings()
def _serve_model(
    candidate: Model, data: SampleData, model_file: _ModelFile, min_count: int, progress: Progress
) -> _ServedModel:
    """The model with its scale and tolerated schema; converted and compiled, if its predictions stay the same."""
    file, file_format = model_file.path, model_file.format
    with name_doubtful_columns(data, candidate.estimator):
        model = inspect.probe_model(candidate, data.rows, file, min_count)
    scores = inspect.score_sample(model, data.rows, progress)
    stored = conversion.stored_model(model, data.rows, file.read_bytes(), file_format, model_file.trusted_types)
    warnings = [each for each in (origin_sentence(stored.origin_versions), stored.sentence) if each]
    try:
        model = equivalence.compile_verified(model, NO_REFERENCE, data.rows)
    except CannotCompile as error:
        warnings.append(f"The model is not compiled, so scikit-learn predicts, which is slower: {error}.")
    return _ServedModel(model, stored, scores, warnings)


def _fallback(
    served_model: _ServedModel,
    data: SampleData,
    choice: metric_choice.MetricChoice,
    folder: ServiceFolder,
    leant_on: Sequence[str] | None,
) -> _ProposedFallback:
    """The default and the rule lists; also second models if the owner wants them: then the features are given."""
    kind, labels = served_model.model.kind, data.labels
    default = default_answer.choose_default(kind, served_model.model.classes, labels, served_model.scores)
    scores = default_answer.score_on_sample(kind, labels, served_model.scores, default.answer)
    predictions = [score.prediction for score in served_model.scores]
    schema = served_model.model.features
    definition = next(iter(choice.definitions), None)
    rows = rule_pricing.SearchSample(schema, data.rows, labels, kind, predictions, definition, served_model.scores)
    proposal, models = rule_search.search(rows, default.answer, SEED), b""
    if leant_on is not None:
        proposal, models = with_second_models(proposal, rows, default.answer, leant_on, SEED)
    lists_file, models_file = folder.file_name(proposal.lists_file), folder.file_name(proposal.models_file)
    proposal = replace(proposal, lists_file=lists_file, models_file=models_file)
    if served_model.model.is_external:  # nothing estimates its loss, which the prices are compared with
        proposal = replace(proposal, model_score=None, default_score=None)
    files = {models_file: models} if models else {}
    if proposal.lists or models:
        files[lists_file] = write.lists_text(proposal).encode()
    return _ProposedFallback(default_answer.describe_scores(default, kind, scores, proposal), proposal, scores, files)


def _read_model(request: ServiceRequest, file: Path, folder: ServiceFolder) -> tuple[Any, str, OwnModules]:
    """The estimator, the format of its file, and the owner's modules that it needs.

    The request names the modules or, without any there, the previous settings.
    """
    file_format = inspect.file_format(file, request.trust_joblib)
    folders = tuple(each.resolve() for each in request.python_path) or folder.own_modules.folders
    own_modules = OwnModules(folders, request.modules or folder.own_modules.names)
    estimator, own_modules = inspect.read_with_own_modules(file, file_format, own_modules, request.trusted_types)
    estimator = inspect.with_classes(estimator, file_format, request.classes, file)
    return estimator, file_format, own_modules


def _model_section(
    folder: ServiceFolder, served_model: _ServedModel, own_modules: OwnModules, trusted_types: Sequence[str]
) -> dict[str, Any]:
    reference = folder.file_name("reference.json")
    model, file = served_model.model, served_model.file
    lists: dict[str, list[str]] = {
        "trusted_types": list(trusted_types) if file is not None and file.format == "skops" else [],
        "python_path": [os.path.relpath(each, folder.path) for each in own_modules.folders],
        "modules": list(own_modules.names),
    }
    modules = {key: names for key, names in lists.items() if names}
    if file is None:
        classes = {"classes": list(model.classes)} if model.classes else {}
        return {"external": True, "version": model.version, **classes, "reference": reference, **modules}
    return {
        "file": folder.file_name(file.file_name),
        "sha256": served_model.sha256,
        "version": model.version,
        "format": file.format,
        "trusted": file.format == "joblib",
        "reference": reference,
        "timeout": "2s",
        "compiled": model.compiled is not None,
        **modules,
        **({"classes": list(file.classes)} if file.classes else {}),
    }


def _files(
    folder: ServiceFolder, served_model: _ServedModel, reference: Baseline, settings_text: str
) -> dict[str, bytes]:
    """File name -> content of the folder: settings, reference and model."""
    model, file = served_model.model, served_model.file
    facts = None if file is None else model_facts(model, served_model.sha256, file.origin_versions)
    return {
        DEFAULT_FILE: settings_text.encode(),
        folder.file_name("reference.json"): reference_content(model, reference, facts),
        **({} if file is None else {folder.file_name(file.file_name): file.content}),
    }


def _sample_warnings(data: SampleData, scores: Sequence[Score], folder: ServiceFolder) -> Iterator[str]:
    if len(scores) < sample.FEW_ROWS:
        yield f"The sample has only {len(scores)} rows; some thousands give a more precise baseline."
    if data.columns.left_out:
        yield f"Columns that the model does not take were left out: {', '.join(data.columns.left_out)}."
    if data.columns.unlabelled_count:
        yield f"{data.columns.unlabelled_count} rows without a label were left out."
    if failure_count := sum(score.error is not None for score in scores):
        yield f"The model failed on {failure_count} rows of the sample."
    if folder.generation > 1:
        yield f"The previous settings are saved as {folder.previous_settings}: copy your changes from there."
        yield "The prediction log stays in the same database."


def _schema_warnings(inferred_schema: infer.InferredSchema, features: NamedFeatures) -> Iterator[str]:
    yield from (f"{name}: {remark}" for name, remark in inferred_schema.remarks.items())
    yield from (*inferred_schema.certainty, *features.sentences)
    if closed_features := [spec.name for spec in features.schema.features if spec.categories is not None]:
        yield (
            "The model fails on categories that it was not trained on, so requests with other categories are refused: "
            f"{', '.join(closed_features)}. The settings list the categories in clear, and so does /v1/schema unless "
            "the feature is hidden (`log`): if they are names of persons, train the model to ignore unknown ones."
        )
    if variables := write.shared_variables(features.schema):
        yield f"Several features have the same name in fallback rules, so there are no rules: {', '.join(variables)}."
