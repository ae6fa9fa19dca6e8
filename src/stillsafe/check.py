"""`stillsafe check`: everything that would fail later, now."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine

from stillsafe import service
from stillsafe.backtest import fallback_evaluation
from stillsafe.backtest.result import fallback_worse
from stillsafe.backtest.text import score_words
from stillsafe.core.fallback import Fallback
from stillsafe.errors import StillsafeError
from stillsafe.incident_explanation import INSTALL
from stillsafe.model.model import Model, ModelKind, load, unbearable_gaps
from stillsafe.monitoring import baseline, schedule
from stillsafe.rules import compile_fallback
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.state import current_state

T = TypeVar("T")
CLOCK_TOLERANCE = timedelta(seconds=5)


class Verdict(StrEnum):
    """How one check ended."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it ended, and what to do where it did not end well."""

    subject: str
    verdict: Verdict
    told: str


def check(config: Path, *, now: datetime) -> list[Finding]:
    """Look at the whole service, in the order in which it would fail. Stops only where nothing more can be told."""
    findings: list[Finding] = []
    settings = _try(findings, "settings", lambda: service.settings_of(config), _told_settings)
    if settings is None:
        return findings
    model = _try(findings, "model", lambda: load(settings), _told_model)
    schema = settings.schema_of_features
    fallback = _try(
        findings, "fallback", lambda: compile_fallback(settings.fallback, schema, file=settings.file), _told_fallback
    )
    if model is not None and fallback is not None:
        findings.extend(_answers(model, fallback, settings))
    if model is not None:
        findings.append(_gaps(model, settings))
        findings.append(_compiled(model, settings))
    findings.append(_price(settings))
    findings.append(_shadow(settings))
    engine = _try(findings, "database", lambda: service.open_store(settings), _told_database)
    if engine is not None:
        findings.extend(_watch(engine, settings, now))
        if engine.dialect.name == "postgresql":
            findings.append(_spool(settings))
        engine.dispose()
    findings.append(_coverage(settings))
    findings.append(_observer(settings))
    findings.append(_cron(config, settings))
    return findings


def _try(findings: list[Finding], subject: str, make: Callable[[], T], tell: Callable[[T], str]) -> T | None:
    try:
        made = make()
    except StillsafeError as error:
        findings.append(Finding(subject, Verdict.ERROR, str(error)))
        return None
    findings.append(Finding(subject, Verdict.OK, tell(made)))
    return made


def _told_settings(settings: Settings) -> str:
    return f"{len(settings.features)} features, mode {settings.service.mode}"


def _told_model(model: Model) -> str:
    return f"{model.kind.value}, version {model.version}, hash verified, takes every feature of the schema"


def _told_fallback(fallback: Fallback) -> str:
    return f"{len(fallback.rules)} rules, then {fallback.default!r}"


def _told_database(engine: Engine) -> str:
    return f"{engine.dialect.name}, schema revision {database.known_revisions()[0]}"


def _answers(model: Model, fallback: Fallback, settings: Settings) -> Iterator[Finding]:
    """Whether the fallback can only answer what the model's callers expect."""
    fixed = [fallback.default, *(rule.answer for rule in settings.fallback.rules if rule.answer is not None)]
    if model.kind is ModelKind.CLASSIFIER:
        strange = [answer for answer in fixed if answer not in model.classes]
        allowed = ", ".join(repr(c) for c in model.classes[:10])
    else:
        strange = [answer for answer in fixed if isinstance(answer, bool | str)]
        allowed = "numbers"
    if (capped := fallback.answer({}).answer) != fallback.default and not fallback.rules:
        told = f"The default {fallback.default!r} lies outside the caps: {capped!r} is answered instead."
        yield Finding("fallback answers", Verdict.WARNING, told)
    for answer in strange:
        told = f"The fallback may answer {answer!r}, which the model never would. Answers of the model: {allowed}."
        yield Finding("fallback answers", Verdict.WARNING, told)


def _gaps(model: Model, settings: Settings) -> Finding:
    """Whether the model tolerates what the schema lets be missing."""
    gaps = unbearable_gaps(model, baseline.read_reference(settings) or {})
    if gaps:
        told = f"The schema lets these be missing, and the model fails without them: {', '.join(gaps)}. Require them."
        return Finding("missing values", Verdict.WARNING, told)
    return Finding("missing values", Verdict.OK, "the model tolerates every value that the schema lets be missing")


def _compiled(model: Model, settings: Settings) -> Finding:
    """Whether the model is served compiled, and what that rests on."""
    if model.compiled is not None and (proof := model.compiled.proof) is not None:
        told = (
            f"answers as scikit-learn does on {proof.row_count} rows and {proof.split_count} inputs beside its trees' "
            f"splits; the largest difference is {proof.largest_difference:g}"
        )
        return Finding("compiled model", Verdict.OK, told)
    if settings.model.compiled:
        told = "It cannot be proven to answer as scikit-learn does, so scikit-learn serves, slower. The log says why."
        return Finding("compiled model", Verdict.WARNING, told)
    return Finding("compiled model", Verdict.OK, "not asked for: scikit-learn serves. `compiled = true` in [model]")


def _price(settings: Settings) -> Finding:
    """What the last backtest with labels found the fallback to be worth."""
    try:
        kept = fallback_evaluation.read(settings)
    except StillsafeError as error:
        return Finding("fallback price", Verdict.WARNING, str(error))
    advice = "`stillsafe backtest DATA --label COLUMN` on a labelled history tells what the fallback costs and saves."
    if kept is None:
        return Finding("fallback price", Verdict.OK, f"Not known yet: {advice}")
    if (kept.fallback_digest, kept.model_version) != (
        fallback_evaluation.digest(settings.fallback),
        settings.model.version,
    ):
        told = f"Out of date: the price of {kept.made_at:%Y-%m-%d} is of another fallback or model version. {advice}"
        return Finding("fallback price", Verdict.OK, told)
    metric = kept.metric.value.replace("_", " ")
    model, fallback = score_words(kept.metric, kept.model_score), score_words(kept.metric, kept.fallback_score)
    broken = f", broken on purpose by {', '.join(kept.injected)}" if kept.injected else ""
    told = (
        f"On {kept.source}{broken}, over the {kept.run_count} runs that the fallback would have answered, its {metric} "
        f"is {fallback}, the model's {model}"
    )
    if fallback_worse(kept.metric, kept.model_score, kept.fallback_score):
        told += ": it would have cost more than it saved. Edit [fallback], or raise the limits in [policy]."
        return Finding("fallback price", Verdict.WARNING, told)
    return Finding("fallback price", Verdict.OK, f"{told}.")


def _shadow(settings: Settings) -> Finding:
    if settings.schema_of_features.scorable_from_log:
        return Finding("shadow score", Verdict.OK, "every feature is logged as it is: recovery is judged on the model")
    hidden = [feature.name for feature in settings.features if feature.log.value != "keep"]
    told = (
        f"Features logged as hash or drop ({', '.join(hidden)}) make a shadow score impossible: while the model is "
        "bypassed, recovery rests on the input signals alone."
    )
    return Finding("shadow score", Verdict.WARNING, told)


def _watch(engine: Engine, settings: Settings, now: datetime) -> Iterator[Finding]:
    with database.reading(engine) as connection:
        active = active_baseline(connection, settings.model.version)
        state = current_state(connection)
    if active is None:
        told = f"Model version {settings.model.version} has no active baseline: it is unwatched. Run `baseline create`."
        yield Finding("baseline", Verdict.WARNING, told)
    else:
        yield Finding("baseline", Verdict.OK, f"{active.baseline_id}, {active.sample_size} predictions")
    if state is None or state.checked_at is None:
        yield Finding("monitor", Verdict.WARNING, "It has never run. Run `stillsafe monitor`, then `schedule install`.")
    elif state.checked_at > now + CLOCK_TOLERANCE:
        told = f"The last run is dated {state.checked_at.isoformat()}, after now ({now.isoformat()}): mend the clock."
        yield Finding("clock", Verdict.ERROR, told)
    elif state.stale(now):
        yield Finding("monitor", Verdict.WARNING, f"It last ran at {state.checked_at.isoformat()}: it looks dead.")
    else:
        yield Finding("monitor", Verdict.OK, f"last run {state.checked_at.isoformat()}, state {state.state.value}")


def _spool(settings: Settings) -> Finding:
    """Whether rows have somewhere to wait while the database server is out."""
    spool = service.spool_of(settings)
    try:
        spool.require_writable()
        waiting = spool.count()
    except StillsafeError as error:
        told = f"{error} Without it, an outage of the database is one of the service: set `spool` in [serving]."
        return Finding("spool", Verdict.ERROR, told)
    if waiting:
        return Finding("spool", Verdict.WARNING, f"{waiting} entries wait in {spool.path}: start `stillsafe serve`.")
    return Finding("spool", Verdict.OK, f"{spool.path} can be written, and nothing waits in it")


def _coverage(settings: Settings) -> Finding:
    window, every = settings.monitor.window, settings.monitor.every
    if window < every:
        told = f"Windows of {window:g} s every {every:g} s leave traffic that no run ever judges: make `window` longer."
        return Finding("window", Verdict.WARNING, told)
    return Finding("window", Verdict.OK, f"{window:g} s every {every:g} s: every prediction is judged")


def _observer(settings: Settings) -> Finding:
    """Whether the language model could be asked, as far as that can be told without asking it."""
    observer = settings.observer
    if observer.use == "offline":
        return Finding("observer", Verdict.OK, "offline: no incident is told to anybody outside")
    if find_spec("openai") is None:
        return Finding("observer", Verdict.ERROR, f"The client library is missing: {INSTALL}")
    if observer.key_variable and observer.key is None:
        told = f"{observer.key_variable} is not in this environment; cron's is another one: see docs/observer.md."
        return Finding("observer", Verdict.WARNING, told)
    if observer.budget >= settings.monitor.every:
        told = "Its `budget` is not shorter than the monitor's interval: runs would overlap. Make it shorter."
        return Finding("observer", Verdict.WARNING, told)
    return Finding(
        "observer", Verdict.OK, f"incidents, in aggregates, are told to {observer.model} ({observer.base_url})"
    )


def _cron(config: Path, settings: Settings) -> Finding:
    if shutil.which("crontab") is None:
        told = "There is no `crontab` here (Debian: apt-get install cron); start `stillsafe monitor` by other means."
        return Finding("schedule", Verdict.WARNING, told)
    try:
        entry = schedule.show(config.resolve())
    except StillsafeError as error:
        return Finding("schedule", Verdict.WARNING, str(error))
    if entry is None:
        told = (
            f"No crontab entry starts the monitor every {settings.monitor.every:g} s. Run `stillsafe schedule install`."
        )
        return Finding("schedule", Verdict.WARNING, told)
    if entry != schedule.entry(config, settings.monitor.every, python=Path(sys.executable)):
        told = "The crontab entry is not the one that would be installed now. Run `stillsafe schedule install` again."
        return Finding("schedule", Verdict.WARNING, told)
    return Finding("schedule", Verdict.OK, entry)
