"""`stillsafe init`: a fitted model and a sample of healthy data in, a service folder to review out."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Answer
from stillsafe.core.policy import Policy
from stillsafe.core.schema import Row, Schema
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
from stillsafe.init.inspect import Progress
from stillsafe.model.compiled import equivalence
from stillsafe.model.compiled.predictors import CannotCompile
from stillsafe.model.model import ConfidenceMethod, Model, ModelKind, Score, sha256_of
from stillsafe.monitoring import baseline
from stillsafe.monitoring.columns import Columns
from stillsafe.settings import DEFAULT_FILE
from stillsafe.store.codec import dumps, to_document

VERSION_LENGTH = 8
SEED = 0  # of the search for fallback rules
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
            labelled sample; None without labels. Where rules are proposed, `fallback_score` is theirs, on the rows that
            they were not learnt from.
        warnings: what a person should look at, one sentence each.
        proposal: the fallback's rules and what they are worth on rows that they were not learnt from.
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
    place = service_folder.look(out, force=force)
    version, name = _version(version, model_file, place), _name(name, place)
    progress("Reading the model")
    form = inspect.form_of(model_file, trust_joblib)
    estimator = inspect.read(model_file, form)
    kind, classes = inspect.servable(estimator, model_file)
    progress("Reading the sample")
    table = sample.read(sample_file)
    given = sample.part(table, estimator, label=label, file=sample_file)
    truth = default_answer.truths(given.labels, kind, classes)
    described = infer.describe(given.features)
    rows = infer.rows_of(given.features, described.schema)
    progress("Trying the model on the sample")
    with inspect.quietly():
        model = inspect.tried(version, kind, classes, described.schema, estimator, rows, model_file)
        scores = inspect.scored(model, rows, progress)
        converted = conversion.as_skops(model, rows) if form == "joblib" else None
        model, why_not_compiled = _compiled(model, rows)
    progress("Making the reference baseline")
    found = baseline.reference_columns(
        model.features,
        rows,
        [score.confidence for score in scores],
        [score.text for score in scores],
        salt=salt,
    )
    reference, contradictions = _reference(found, model.features, version, now, given.ordered)
    with inspect.quietly():
        harm = impact_study.weigh(model, rows, scores, truth, found, reference, _weighing(progress))
    reference = replace(reference, harm=harm)
    bare = default_answer.default(kind, classes, truth, scores)
    worth = default_answer.worth(kind, truth, scores, bare.answer)
    own = [score.prediction for score in scores]
    proposal = rule_search.propose(model.features, rows, truth, kind, bare.answer, SEED, own)
    fallback = default_answer.priced(bare, kind, worth, proposal)
    kept_form, content = (form, model_file.read_bytes()) if converted is None else ("skops", converted)
    files = _files(place, name, salt, model, kept_form, content, reference, described, fallback, proposal)
    with inspect.quietly():
        service_folder.write(place, files)
    return Created(
        out,
        kind,
        version,
        model.scale.method,
        model.features,
        reference,
        fallback.answer,
        *default_answer.with_rules(worth, proposal),
        (
            *_warnings(given, scores, place),
            *default_answer.doubts(fallback, kind, worth, proposal),
            *default_answer.proposed(proposal),
            *_form_told(form, kept_form),
            *why_not_compiled,
            *_remarks(described, model.features),
            *sample.swallowed(table, sample_file, given),
            *contradictions,
        ),
        proposal,
    )


def _files(
    place: service_folder.Place,
    name: str,
    salt: str,
    model: Model,
    form: str,
    content: bytes,
    reference: Baseline,
    described: infer.Inferred,
    fallback: default_answer.Default,
    proposal: rule_search.Proposal,
) -> dict[str, bytes]:
    """The folder's files: settings, reference baseline and model."""
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
            "file": place.numbered(f"model.{form}"),
            "sha256": digest,
            "version": model.version,
            "format": form,
            "trusted": form == "joblib",
            "reference": place.numbered("reference.json"),
            "timeout": "2s",
            "compiled": model.compiled is not None,
        },
        schema=model.features,
        remarks=described.remarks,
        fallback=fallback,
        proposal=proposal,
    )
    document = {
        "baseline": to_document(reference),
        "confidence": {"method": model.scale.method.value, "quantiles": list(model.scale.quantiles)},
        "model": {
            "kind": model.kind.value,
            "classes": list(model.classes),
            "sklearn_version": sklearn_version(),
            "sha256": digest,
            "compiled": to_document(model.compiled.proof) if model.compiled else None,
        },
    }
    return {
        DEFAULT_FILE: text.encode(),
        place.numbered("reference.json"): dumps(document).encode(),
        place.numbered(f"model.{form}"): content,
    }


def _compiled(model: Model, rows: Sequence[Row]) -> tuple[Model, list[str]]:
    """The model compiled if that can be proven on the sample, or as it is and why."""
    try:
        return equivalence.compiled(model, {}, rows), []
    except CannotCompile as error:
        return model, [f"The model is served by scikit-learn itself, not compiled, which is slower: {error}."]


def sklearn_version() -> str:
    """The version of scikit-learn that reads the model here."""
    import sklearn

    return str(sklearn.__version__)


def _version(version: str | None, model_file: Path, place: service_folder.Place) -> str:
    """The version under which the model is kept: one that the folder's log does not know yet.

    Raises:
        ConfigurationError: the name is too long, or has been used.
    """
    if version is None:
        inspect.form_of(model_file, trusted=True)
        digest = sha256_of(model_file)[:VERSION_LENGTH]
        return digest if digest not in place.versions else f"{digest}-{place.generation}"
    if not 0 < len(version) <= LONGEST_NAME:
        raise ConfigurationError(f"A version has 1 to {LONGEST_NAME} characters.", "Name another with --version.")
    if version in place.versions:
        told = f"The version {version!r} has been used in {place.folder}, and its baseline is frozen."
        raise ConfigurationError(told, "Name a new one with --version.")
    return version


def _name(name: str | None, place: service_folder.Place) -> str:
    chosen = (place.folder.name or "service")[:LONGEST_NAME] if name is None else name
    if not 0 < len(chosen) <= LONGEST_NAME:
        raise ConfigurationError(f"A service's name has 1 to {LONGEST_NAME} characters.", "Name another with --name.")
    return chosen


def _weighing(progress: Progress) -> impact_study.Tell:
    return lambda done: progress(f"Weighing what changes would cost: {done:.0%}")


def _reference(
    found: Columns, schema: Schema, version: str, now: datetime, ordered: bool
) -> tuple[Baseline, list[str]]:
    """The reference baseline, and how the halves of the sample contradict each other."""
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


def _warnings(given: sample.Sample, scores: Sequence[Score], place: service_folder.Place) -> Iterator[str]:
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
