"""`stillsafe check`: find out now what would fail later."""

from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine

from stillsafe import service
from stillsafe.backtest import fallback_evaluation
from stillsafe.backtest.summary import is_fallback_worse
from stillsafe.backtest.text import score_words
from stillsafe.check.disclosure import disclosure_findings
from stillsafe.check.estimate import estimate_findings
from stillsafe.check.exposure import exposure_findings
from stillsafe.check.fallback import fallback_findings
from stillsafe.check.file import file_findings
from stillsafe.check.findings import Finding, error, ok, warning
from stillsafe.check.harm import harm_findings
from stillsafe.check.judging import judging_findings
from stillsafe.check.model import model_findings
from stillsafe.check.reference import reference_findings, time_findings
from stillsafe.check.schedule import schedule_findings
from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.fallback import MODEL, Fallback
from stillsafe.errors import StillsafeError
from stillsafe.incident_explanation import INSTALL
from stillsafe.model.external import NO_SCORES
from stillsafe.model.load import load_model
from stillsafe.model.model import Model, ModelKind
from stillsafe.model.reference import read_reference
from stillsafe.serving.access.keys import list_keys
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.keys import KeyRecord

T = TypeVar("T")
BACKTEST_ADVICE = "`stillsafe backtest DATA --label COLUMN` on a labelled history compares the fallback with the model."


def check(config: Path, *, now: datetime) -> list[Finding]:
    """Check the whole service, in the order in which it would fail.

    A check that needs settings, a model or a database that cannot be loaded is left out.

    Args:
        config: the settings file.
        now: the current time, aware UTC.
    """
    findings: list[Finding] = []
    settings = _load(
        findings,
        "settings",
        lambda: service.settings_of(config),
        lambda settings: f"{len(settings.features)} features, mode {settings.service.mode}",
    )
    if settings is None:
        return findings
    model = _load(
        findings,
        "model",
        lambda: load_model(settings),
        _model_summary,
    )
    fallback = _load(
        findings,
        "fallback",
        lambda: service.fallback_of(settings),
        _fallback_summary,
    )
    if model is not None and fallback is not None:
        findings.extend(_fallback_answers(model, fallback, settings))
    if model is not None and not model.is_external:
        findings += model_findings(model, settings)
    findings += [*_reference(settings), *_harm(settings), *fallback_findings(settings), _fallback_price(settings)]
    findings += [_shadow_score(settings), _watch(settings)]
    findings += [warning("settings", f"{key} has no effect: {why}") for key, why in settings.ignored_keys.items()]
    findings += [*file_findings(settings), *disclosure_findings(settings)]
    engine = _load(
        findings,
        "database",
        lambda: service.open_store(settings),
        lambda engine: f"{engine.dialect.name}, schema revision {database.known_revisions()[0]}",
    )
    findings.extend(exposure_findings(settings, None if engine is None else _keys(engine)))
    if engine is not None:
        findings.extend(judging_findings(engine, settings, now, service.utc_now()))
        findings.extend(estimate_findings(engine, settings))
        if engine.dialect.name == "postgresql":
            findings.append(_spool(settings))
        engine.dispose()
    return [*findings, _observer(settings), *schedule_findings(config, settings, now)]


def _load(findings: list[Finding], subject: str, load: Callable[[], T], message: Callable[[T], str]) -> T | None:
    """What `load` returns, or None where it raises; either is a finding."""
    try:
        part = load()
    except StillsafeError as failure:
        findings.append(error(subject, str(failure)))
        return None
    findings.append(ok(subject, message(part)))
    return part


def _model_summary(model: Model) -> str:
    """What the model is, and what was verified of it."""
    if not model.is_external:
        return f"{model.kind.value}, version {model.version}, hash verified, takes every feature of the schema"
    classes = f" of {', '.join(map(repr, model.classes[:10]))}" if model.classes else ""
    return f"external {model.kind.value}{classes}, version {model.version}: its answers are recorded, none is given"


def _keys(engine: Engine) -> list[KeyRecord] | None:
    """The service's keys, or None if they cannot be read, which another check reports."""
    try:
        return list_keys(engine)
    except StillsafeError:
        return None


def _fallback_summary(fallback: Fallback) -> str:
    """What answers, in order."""
    models = sum(source.kind == MODEL for source in fallback.sources)
    counts = ((len(fallback.sources) - models, "rule lists"), (models, "second models"))
    sources = "".join(f"{count} {name}, " for count, name in counts if count)
    last_answer = "no prediction" if fallback.abstains else repr(fallback.default)
    return f"{len(fallback.rules)} rules, {sources}then {last_answer}"


def _fallback_answers(model: Model, fallback: Fallback, settings: Settings) -> Iterator[Finding]:
    """Whether the fallback only gives answers that the model could give."""
    rules = [*settings.fallback.rules, *(rule for each in settings.fallback.lists for rule in each.rules)]
    answers = [fallback.default, *dict.fromkeys(rule.answer for rule in rules if rule.answer is not None)]
    if model.kind is ModelKind.CLASSIFIER:
        foreign_answers = [answer for answer in answers if answer not in model.classes]
        model_answers = ", ".join(repr(c) for c in model.classes[:10])
    else:
        foreign_answers = [answer for answer in answers if isinstance(answer, bool | str)]
        model_answers = "numbers"
    if (answer := fallback.answer({}).answer) != fallback.default and not rules and not fallback.abstains:
        message = f"The default {fallback.default!r} is outside the caps: {answer!r} is answered instead."
        yield warning("fallback answers", message)
    for answer in foreign_answers:
        message = f"The fallback may answer {answer!r}, which the model never does. The model answers: {model_answers}."
        yield warning("fallback answers", message)


def _reference(settings: Settings) -> list[Finding]:
    """What the reference file lacks; an error if it cannot be read."""
    try:
        reference = read_reference(settings.path(settings.model.reference))
        return [*reference_findings(settings, reference), *time_findings(reference)]
    except StillsafeError as failure:
        return [error("reference", str(failure))]


def _harm(settings: Settings) -> list[Finding]:
    """How the loss is measured; nothing where the reference cannot be read, which another check reports."""
    try:
        baseline = read_reference(settings.path(settings.model.reference)).baseline
        return [] if baseline is None else list(harm_findings(settings, baseline))
    except StillsafeError:
        return []


def _fallback_price(settings: Settings) -> Finding:
    """How the fallback compares with the model in the last backtest with labels."""
    subject = "fallback price"
    try:
        evaluation = fallback_evaluation.read(settings)
    except StillsafeError as failure:
        return warning(subject, str(failure))
    if settings.model.external:
        return ok(subject, "Not known: labels of recorded answers and of the fallback's show it, no backtest does.")
    if evaluation is None:
        return ok(subject, f"Not known yet: {BACKTEST_ADVICE}")
    current = fallback_evaluation.digest(settings.fallback), settings.model.version
    if (evaluation.fallback_digest, evaluation.model_version) != current:
        date = time_text(evaluation.made_at)
        return ok(subject, f"Out of date: the backtest of {date} had another fallback or model. {BACKTEST_ADVICE}")
    metric, name = evaluation.metric, evaluation.metric.phrase
    faults = f" with injected faults ({', '.join(evaluation.injected)})" if evaluation.injected else ""
    message = (
        f"On {evaluation.source}{faults}, over the {evaluation.run_count} runs that the fallback would have answered, "
        f"its {name} is {score_words(metric, evaluation.fallback_score)}, and the model's is "
        f"{score_words(metric, evaluation.model_score)}"
    )
    if is_fallback_worse(metric, evaluation.model_score, evaluation.fallback_score):
        remedy = "Edit [fallback], or raise the limits in [policy]."
        return warning(subject, f"{message}: the fallback would have been worse than the model. {remedy}")
    return ok(subject, f"{message}.")


def _watch(settings: Settings) -> Finding:
    """Whether every feature is watched."""
    if not settings.watch_sentence:
        return ok("features", "each is watched, by the limits in [policy]")
    return (warning if settings.policy.unwatched_features else ok)("features", settings.watch_sentence)


def _shadow_score(settings: Settings) -> Finding:
    if settings.model.external:
        return warning("shadow score", f"Missing: {NO_SCORES}.")
    if settings.schema_of_features.scorable_from_log:
        return ok("shadow score", "every feature is logged in clear: recovery is judged on the model's confidence")
    names = ", ".join(feature.name for feature in settings.features if feature.log.value != "keep")
    message = (
        f"Features logged as hash or drop ({names}) make a shadow score impossible: while the model is bypassed, "
        "recovery rests on the input signals alone."
    )
    return warning("shadow score", message)


def _spool(settings: Settings) -> Finding:
    """Whether rows can be spooled while the database server is out."""
    spool = service.spool_of(settings)
    try:
        spool.require_writable()
        entry_count = spool.count()
    except StillsafeError as failure:
        message = f"{failure} Without a spool, requests fail while the database is out: set `spool` in [serving]."
        return error("spool", message)
    if entry_count:
        return warning("spool", f"{entry_count} entries wait in {spool.path}: start `stillsafe serve` to store them.")
    return ok("spool", f"{spool.path} is writable and empty")


def _observer(settings: Settings) -> Finding:
    """Whether the language model is configured; it is not called."""
    observer = settings.observer
    if observer.use == "offline":
        return ok("observer", "offline: nothing about an incident is sent to another service")
    if find_spec("openai") is None:
        return error("observer", f"The client library is missing: {INSTALL}")
    if observer.key_variable and observer.key is None:
        message = (
            f"{observer.key_variable} is not set in this environment. Cron has an environment of its own: see "
            "docs/observer.md."
        )
        return warning("observer", message)
    if observer.budget >= settings.monitor.every:
        message = "Its `budget` is not shorter than the monitor's interval, so runs would overlap. Make it shorter."
        return warning("observer", message)
    return ok("observer", f"incidents are sent, as aggregates, to {observer.model} ({observer.base_url})")
