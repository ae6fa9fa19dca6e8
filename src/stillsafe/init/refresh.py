"""`stillsafe init --refresh`: measure a service's sample again, for what its reference file lacks.

The settings stay as their owner wrote them: only the name of the reference file changes, and what is missing is added.
The new reference has its own name and identifier, and the previous settings are kept. The previous reference files
are kept too, without what few values share and what the log hides.
"""

import os
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from stillsafe import settings as settings_files
from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.init import default_answer, infer, inspect, metric_choice, rule_search, sample, service_folder, write
from stillsafe.init.price_errors import Errors, missing_price_errors, split_errors, text_with_errors
from stillsafe.init.reference_file import reference_content
from stillsafe.init.reference_study import ReferenceRequest, ReferenceSample, study_reference
from stillsafe.init.rule_pricing import SearchSample
from stillsafe.init.rule_proposal import NO_PROPOSAL
from stillsafe.init.settings_edit import edited_text
from stillsafe.init.time_zone import choose_time_zone
from stillsafe.model.load import load_model, load_scoring_model
from stillsafe.model.model import Model
from stillsafe.model.reference import read_reference
from stillsafe.monitoring.disclosure import Disclosure
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.reference_files import redact_files, redaction_sentence
from stillsafe.progress import Progress, no_progress
from stillsafe.settings import Settings
from stillsafe.store.disk import write_private
from stillsafe.table_file import ANY_FORMAT, TableFormat

SEED = 0
"""Seed of the search for rule lists."""
Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """What to refresh a service from.

    Attributes:
        config: its settings file.
        sample_file: healthy data that the model was not trained on, CSV or Parquet.
        now: the time of the refresh, aware UTC.
        label: name of the label column, or None.
        form: how a CSV sample is written, as far as the owner states it.
    """

    config: Path
    sample_file: Path
    now: datetime
    label: str | None = None
    form: TableFormat = ANY_FORMAT


@dataclass(frozen=True, slots=True)
class RefreshedService:
    """What a refresh wrote.

    Attributes:
        config: the settings file.
        previous_settings: the file with the settings as they were before.
        reference: the new reference file.
        baseline: the new reference baseline.
        additions: section -> key -> value of the settings that were missing.
        warnings: what a person should check, one sentence each.
    """

    config: Path
    previous_settings: Path
    reference: Path
    baseline: Baseline
    additions: Mapping[str, Mapping[str, Any]]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _ScoredRows:
    """The sample as the service would serve it, and how it was read."""

    columns: sample.Sample
    rows: list[Row]
    labels: list[Answer | None] | None
    scores: list[Score]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Additions:
    """Settings and files that a service lacks, and what to say about them.

    Attributes:
        sections: section -> key -> value.
        files: name -> content.
        warnings: one sentence each.
        price_errors: of the rule lists and second models in the settings file itself.
    """

    sections: Sections = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    price_errors: Errors = field(default_factory=dict)


def refresh_service(request: RefreshRequest, progress: Progress = no_progress) -> RefreshedService:
    """Make a new reference of a service from a sample, and add the settings that it lacks.

    Raises:
        ConfigurationError: the settings or the sample are invalid, or the folder cannot be written.
        ModelError: the model cannot be loaded, or it fails on the sample.
        NoModel: the model runs elsewhere.
    """
    progress("Reading the model", None)
    current = settings_files.load(request.config)
    model = load_scoring_model(current, "refresh")
    progress("Reading the sample", None)
    data = _read_sample(request, model, progress)
    additions = _missing_settings(current, model, data)
    progress("Making the reference baseline", None)
    generation = service_folder.generation_of(current.folder)
    timezone = additions.sections.get("service", {}).get("timezone", current.service.timezone)
    reference, baseline_warnings = study_reference(
        model,
        ReferenceSample(data.rows, data.scores, data.labels, data.columns.in_time_order, data.columns.times),
        ReferenceRequest(
            request.now,
            Disclosure.of(current),
            current.harm.definitions,
            f"reference-{model.version}-{request.now:%Y%m%dT%H%M%SZ}",
            timezone,
        ),
        progress,
    )
    old_reference = read_reference(current.path(current.model.reference))
    name = service_folder.numbered_name("reference.json", generation)
    content = reference_content(model, reference, old_reference.model)
    new_settings, sections = additions.sections, {**additions.sections, "model": {"reference": name}}
    additions = replace(additions, sections=sections, files={**additions.files, name: content})
    previous = _write(request.config, additions, generation)
    return RefreshedService(
        request.config,
        previous,
        current.folder / name,
        reference,
        new_settings,
        (*data.remarks, *additions.warnings, *baseline_warnings, *_redact_older_files(current)),
    )


def _redact_older_files(current: Settings) -> tuple[str, ...]:
    """Remove from the previous reference files what a new one would not show; what was done, or what to do."""
    try:
        sentence = redaction_sentence(redact_files(current.folder, LogFormat.of(current)))
    except OSError as error:
        sentence = f"Older reference files list values of few rows and cannot be written ({error}): delete them."
    return (sentence,) if sentence else ()


def _read_sample(request: RefreshRequest, model: Model, progress: Progress) -> _ScoredRows:
    kinds = sample.column_kinds(request.sample_file, model.estimator, request.label, request.form)
    table = sample.read(request.sample_file, kinds, request.form)
    columns = sample.split_columns(table.frame, model.estimator, label=request.label, file=request.sample_file)
    if missing := [name for name in model.features.names if name not in columns.features]:
        problem = f"The sample lacks columns of the service: {', '.join(missing)}."
        raise ConfigurationError(problem, "Add them.", file=str(request.sample_file))
    labels = default_answer.sample_labels(columns.labels, model.kind, model.classes)
    rows = infer.rows_of(columns.features, model.features)
    with inspect.suppress_warnings():
        scores = inspect.score_sample(model, rows, progress)
    return _ScoredRows(columns, rows, labels, scores, (*table.remarks, *table.doubts.values()))


def _missing_settings(current: Settings, model: Model, data: _ScoredRows) -> _Additions:
    present_fields = current.model_fields_set
    sections: Sections = {} if "privacy" in present_fields else {"privacy": {"min_count": current.privacy.min_count}}
    warnings: list[str] = []
    if data.columns.times is not None and "timezone" not in current.service.model_fields_set:
        zone = choose_time_zone(data.rows, data.columns.times)
        sections["service"] = {"timezone": zone.name}
        warnings += [zone.reason] if zone.reason else []
    if current.harm.metric is None:
        choice = metric_choice.choose_metric(model, data.scores, data.labels, {})
        warnings += [
            f"The metric stays as it is. {sentence}" for sentence in (choice.reason, *choice.warnings) if sentence
        ]
    prices = _missing_prices(current, model, data)
    return replace(prices, sections=sections | prices.sections, warnings=(*warnings, *prices.warnings))


def _search_sample(current: Settings, model: Model, data: _ScoredRows) -> SearchSample:
    predictions = [score.prediction for score in data.scores]
    definition = next(iter(current.harm.definitions), None)
    return SearchSample(model.features, data.rows, data.labels, model.kind, predictions, definition, data.scores)


def _missing_prices(current: Settings, model: Model, data: _ScoredRows) -> _Additions:
    """Rule lists and the scores of model, lists and default, where the settings have none; else the scores' errors."""
    fallback = current.fallback
    if fallback.model_score is not None or fallback.lists or fallback.lists_file is not None:
        return _missing_errors(current, _search_sample(current, model, data))
    answer = fallback.last_answer if fallback.default is None else fallback.default
    if answer is None or write.shared_variables(model.features):
        return _Additions()
    proposal = rule_search.search(_search_sample(current, model, data), answer, SEED)
    if proposal.model_score is None or proposal.default_score is None:
        return _Additions()
    has_own_answers = bool(fallback.rules) or fallback.function is not None
    values: dict[str, Any] = {"model_score": proposal.model_score, "default_score": proposal.default_score}
    values |= {} if proposal.default_error is None else {"default_error": proposal.default_error}
    files = {}
    if proposal.lists:
        name = service_folder.numbered_name(proposal.lists_file, service_folder.generation_of(current.folder))
        files[name] = write.lists_text(replace(proposal, lists_file=name)).encode()
        values["lists_file"] = name
    if "bypass" not in fallback.model_fields_set and not has_own_answers:
        values["bypass"] = "when_it_pays"
    warnings = (
        (
            "Your own rules answer before the new rule lists and have no price, so every CRITICAL bypasses the model. "
            'Delete the rules that an earlier `init` learnt, and set `bypass = "when_it_pays"` in [fallback], if the '
            "priced lists are to answer.",
        )
        if has_own_answers
        else ()
    )
    return _Additions({"fallback": values}, files, warnings)


def _missing_errors(current: Settings, search_sample: SearchSample) -> _Additions:
    """The errors that prices of an earlier release lack; the lists keep their rules and scores in a file of a new name.

    Only a bypass that asks whether it pays reads them, but the owner may choose it later.
    """
    errors = missing_price_errors(current, search_sample, SEED)
    lists_file, files = current.fallback.lists_file, {}
    values: dict[str, Any] = {} if errors.default is None else {"default_error": errors.default}
    in_file: Errors = {}
    own_errors = errors.sources
    if lists_file is not None:
        text = current.path(lists_file).read_text(encoding="utf-8-sig")
        counts = {name: len(part) for name, part in tomllib.loads(text).items() if isinstance(part, list)}
        in_file, own_errors = split_errors(errors.sources, counts)
    if in_file:
        generation = service_folder.generation_of(current.folder)
        values["lists_file"] = service_folder.numbered_name(NO_PROPOSAL.lists_file, generation)
        files[values["lists_file"]] = text_with_errors(text, in_file).encode()
    sentence = (
        'The prices of the fallback had no error and have one now: with `bypass = "when_it_pays"` the fallback '
        "answers only where it is expected to win more than that."
    )
    return _Additions(
        {"fallback": values} if values else {}, files, (sentence,) if values or own_errors else (), own_errors
    )


def _write(config: Path, additions: _Additions, generation: int) -> Path:
    """Write the files, then replace the settings in a single step; the file that keeps the previous ones."""
    folder, sections, files = config.resolve().parent, additions.sections, additions.files
    text = config.read_text(encoding="utf-8-sig")
    new_text = text_with_errors(edited_text(text, sections), additions.price_errors, "fallback.")
    previous = folder / _previous_name(config, generation)
    new_files = [folder / name for name in files]
    draft = folder / f".{config.name}.new"
    try:
        for name, content in files.items():
            write_private(folder / name, content)
        write_private(draft, new_text.encode())
        shutil.copymode(config, draft)
        _require_loadable(draft, sections)
        write_private(previous, text.encode())
        os.replace(draft, config)
    except OSError as error:
        _remove([draft, *new_files])
        reason = error.strerror or str(error)
        raise ConfigurationError(
            f"The folder {folder} cannot be written: {reason}.", "Check its permissions."
        ) from error
    except BaseException:
        _remove([draft, *new_files])
        raise
    return previous


def _previous_name(config: Path, generation: int) -> str:
    return service_folder.numbered_name(config.name, generation - 1)


def _require_loadable(draft: Path, sections: Sections) -> None:
    """Check that the edited settings load, with the new values.

    Raises:
        ConfigurationError: a section is written in a way that cannot be edited as text.
    """
    try:
        load_model(settings_files.load(draft))
    except ModelError:
        raise
    except ConfigurationError as error:
        names = ", ".join(f"[{name}]" for name in sections)
        problem = f"The settings cannot be edited: {error.problem}"
        raise ConfigurationError(problem, f"Write the sections {names} as tables with a header.") from error


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
