"""The composition: builds the app, the monitoring run and the backtest of a service from its settings."""

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from fastapi import FastAPI
from sqlalchemy import Engine

from stillsafe import incident_explanation, logs
from stillsafe.alerting.delivery import announce
from stillsafe.alerting.host_watch import host_watch
from stillsafe.backtest import run as backtest_run
from stillsafe.backtest.history import read_history
from stillsafe.backtest.result import Backtest
from stillsafe.backtest.scoring import BacktestContext
from stillsafe.core.baseline import Baseline
from stillsafe.core.fallback import Fallback
from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.dashboard import views
from stillsafe.errors import ConfigurationError, RunRefused, StillsafeError
from stillsafe.identifiers import new_ids
from stillsafe.logs import LogEvent, log_event
from stillsafe.model.consistency import consistency_of, log_consistency
from stillsafe.model.load import load_model, load_scoring_model
from stillsafe.model.model import Model
from stillsafe.model.reference import read_baseline
from stillsafe.model.second_model import load_second_models
from stillsafe.monitoring import baseline, hold, registration, run
from stillsafe.monitoring import clock as monitoring_clock
from stillsafe.progress import Progress, no_progress
from stillsafe.rules import compile_fallback
from stillsafe.serving import app, caps, predict
from stillsafe.serving.failover import Failover, WriteEntries, drain_spool
from stillsafe.serving.operator_routes import OperatorActions
from stillsafe.serving.predict import Context
from stillsafe.serving.state_reading import stored_state
from stillsafe.settings import DEFAULT_FILE, Settings
from stillsafe.settings import load as load_settings
from stillsafe.store import database
from stillsafe.store.connection_registry import connection_timeout
from stillsafe.store.read.state import current_state
from stillsafe.store.spool import Spool

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
CONFIG_VARIABLE = "STILLSAFE_CONFIG"
KEYS_VARIABLE = "STILLSAFE_WORKER_KEYS"
"""The variable from which a worker process of `serve` learns whether clients need a key: `on` or `off`."""
ORPHAN_CHECK_SECONDS = 0.5
SHORTEST_RUN_TIMEOUT_SECONDS = 60.0
"""A run that has not ended when the next one is due loses its connections, but no run does sooner than this."""


def utc_now() -> datetime:
    """The current time. Processes read it once where they start, and pass it down."""
    return datetime.now(UTC)


def config_file() -> str:
    """The settings file if none is named: of the environment, else `stillsafe.toml` in the working folder."""
    return os.environ.get(CONFIG_VARIABLE, DEFAULT_FILE)


def settings_of(config: Settings | Path | str) -> Settings:
    """Settings from a file; settings that are read already are returned unchanged.

    Raises:
        ConfigurationError: the file is missing or invalid; the message names line and remedy.
    """
    if isinstance(config, Settings):
        return config
    settings = load_settings(config)
    for key, message in settings.ignored_keys.items():
        log_event(logger, LogEvent.SETTING_IGNORED, {"service": settings.service.name, "key": key, "message": message})
    return settings


def fallback_of(settings: Settings) -> Fallback:
    """The compiled fallback. A fallback function may be in a module of the owner.

    Raises:
        ConfigurationError: a module cannot be imported, or a rule, the function or a second model cannot be used.
    """
    if settings.fallback.function is not None:
        settings.own_modules.load()
    fallback = compile_fallback(settings.fallback, settings.schema_of_features, file=settings.file)
    return replace(fallback, sources=(*fallback.sources, *load_second_models(settings)))


def open_store(settings: Settings, *, create: bool = False) -> Engine:
    """The service's database.

    Args:
        settings: of the service.
        create: whether a database that does not exist is created, and gets the service. `init` alone does so.

    Raises:
        ConfigurationError: the URL or the reference file is wrong.
        SchemaMismatch: the database is of another version.
        StoreMissing: there is none, or it is empty, or it is another service's.
        StoreError: it cannot be read or written.
    """
    engine = connect(settings)
    try:
        if create:
            _create_store(engine)
        prepare_store(engine, settings)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _create_store(engine: Engine) -> None:
    if database.revision(engine) is None:
        database.upgrade(engine)
    database.require_current(engine)
    registration.ensure_registered(engine)


def connect(settings: Settings) -> Engine:
    """An engine for the service's own rows of its database. It opens no connection yet.

    Raises:
        ConfigurationError: the URL names no database that Stillsafe supports.
    """
    return database.connect(settings.database_url, settings.service.name)


def prepare_store(engine: Engine, settings: Settings) -> None:
    """Require the service's own database, and give it the reference baseline if it lacks it; raises as `open_store`.

    Nothing is created: a service without its database would start from NORMAL, without its holds and incidents.
    """
    database.require_current(engine)
    registration.require_registered(engine)
    baseline.ensure_reference(engine, settings)


def spool_of(settings: Settings) -> Spool:
    """The spool of a service: the file that the settings name, else a file next to the settings file."""
    return Spool(settings.spool_file)


def _spool_writer(settings: Settings) -> WriteEntries:
    """Moves rows of the spool to the store."""
    return partial(predict.write_spooled, keep=timedelta(seconds=settings.ids.keep))


def open_store_with_failover(settings: Settings, clock: Clock) -> tuple[Engine, Failover | None]:
    """The service's database, and for a database server its failover, which opens a server that is out later.

    Raises:
        As `open_store`, except that a server which cannot be reached raises nothing.
    """
    engine = connect(settings)
    if engine.dialect.name == "sqlite":
        prepare_store(engine, settings)
        return engine, None
    failover = Failover(
        engine,
        spool_of(settings),
        settings.serving,
        read_state=partial(stored_state, engine, settings, clock),
        write_entries=_spool_writer(settings),
        prepare=partial(prepare_store, engine, settings),
    )
    failover.open()
    return engine, failover


def serving_context(settings: Settings, clock: Clock, like: Context | None = None) -> Context:
    """What answering needs: model and fallback are loaded, and the store is open.

    Args:
        settings: of the service.
        clock: the current time, aware UTC.
        like: a context of the same settings, such as that of the parent process, whose model and fallback are used.

    Raises:
        ConfigurationError: settings, model or fallback rules are wrong.
        StoreError: the database cannot be used.
    """
    if like is None:
        model = load_model(settings)
        consistency = consistency_of(model, settings)
        log_consistency(consistency, settings)
        fallback = fallback_of(settings)
    else:
        model, consistency, fallback = like.model, like.consistency, like.fallback
    engine, failover = open_store_with_failover(settings, clock)
    fields = {"service": settings.service.name, "model_version": model.version, "process": os.getpid()}
    log_event(logger, LogEvent.SERVING, fields)
    return Context(settings, engine, model, fallback, clock, new_ids, failover=failover, consistency=consistency)


def create_app(config: Settings | Path | str, *, clock: Clock = utc_now) -> FastAPI:
    """The API and the dashboard as an ASGI application.

    Args:
        config: a `stillsafe.toml`, or settings already read.
        clock: the current time, aware UTC; a simulated one in the demo and in tests.

    Raises:
        ConfigurationError: settings, model or fallback rules are wrong.
        StoreError: the database cannot be used.
    """
    settings = settings_of(config)
    context = serving_context(settings, clock)
    engine = context.engine
    pages = views.router(engine, settings, clock, context.reading_time)
    actions = OperatorActions(
        partial(hold.hold, engine, settings.model.version, settings=settings),
        partial(hold.release, engine, settings.model.version, settings=settings),
    )
    return app.build(context, pages=pages, actions=actions, watch=host_watch(context))


def with_keys(settings: Settings, are_needed: bool) -> Settings:
    """The settings of a service whose clients need a key, or need none, whatever their file has."""
    return settings.model_copy(update={"exposure": settings.exposure.model_copy(update={"keys": are_needed})})


def app_from_environment() -> FastAPI:
    """The app of a worker process; the environment names the settings file."""
    logs.set_up("INFO")
    Thread(target=_end_after, args=(os.getppid(),), name="stillsafe-parent", daemon=True).start()
    settings = settings_of(config_file())
    if (word := os.environ.get(KEYS_VARIABLE)) is not None:
        settings = with_keys(settings, word == "on")
    logs.set_up("INFO", service=settings.service.name, model_version=settings.model.version)
    application = create_app(settings)
    freeze_collector()
    return application


def freeze_collector() -> None:
    """Exclude all current objects from Python's cycle collector.

    A full collection would search the loaded libraries, which delays every request by a tenth of a second.
    """
    gc.collect()
    gc.freeze()


def _end_after(parent: int) -> None:
    """End this worker once its parent has ended: an orphan would keep the port that the next start needs."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def monitor(config: Settings | Path | str, *, now: datetime, ahead: bool = False) -> run.Run:
    """One monitoring run, and after its commit the explanation of the incident, if any.

    Args:
        config: a `stillsafe.toml`, or settings already read.
        now: end of the window, aware UTC.
        ahead: run although the clocks of the machine and of the database server differ.

    Raises:
        ConfigurationError: settings or model are wrong.
        RunAhead: those clocks are more than one interval apart.
        RunRefused: `now` is before the last run, or rows of this host still wait in the spool.
        StoreError: the database cannot be read or written; nothing of the run is stored.
    """
    settings = settings_of(config)
    engine = connect(settings)
    try:
        timeout = max(settings.monitor.every, SHORTEST_RUN_TIMEOUT_SECONDS) + settings.observer.budget
        with connection_timeout(engine, timeout):
            prepare_store(engine, settings)
            if not ahead:
                with database.reading(engine) as connection:
                    monitoring_clock.require_equal_clocks(connection, utc_now(), settings.monitor.every)
            drain_spool(engine, spool_of(settings), _spool_writer(settings))
            scorer = shadow_scorer(settings)
            problem = scorer.problem if scorer is not None else lambda: None
            result = run.run(engine, settings, now=now, score=scorer, shadow_problem=problem)
            _explain(engine, settings, result, now)
        announce(engine, settings, now, is_good=result.outcome is run.RunOutcome.SUCCESS)
    except Exception as error:
        is_known = isinstance(error, StillsafeError)
        problem_text = str(error) if is_known else f"It failed unexpectedly: {type(error).__name__}."
        announce(engine, settings, now, problem=problem_text)
        raise
    finally:
        engine.dispose()
    return result


def monitor_readiness(config: Settings | Path | str) -> str:
    """Load all that a monitoring run needs, and describe it in one sentence; nothing is judged or written.

    Raises:
        ConfigurationError: settings or model are wrong.
        StoreError: the database cannot be read, or is of another version.
    """
    settings = settings_of(config)
    model = load_model(settings)
    engine = connect(settings)
    try:
        with connection_timeout(engine, SHORTEST_RUN_TIMEOUT_SECONDS):
            database.require_current(engine)
            registration.require_registered(engine)
            with database.reading(engine) as connection:
                current_state(connection, model.version)
    finally:
        engine.dispose()
    store = f"database {engine.dialect.name}, readable"
    return f"The monitor can run: service {settings.service.name}, model version {model.version}, {store}."


def backtest(
    config: Settings | Path | str,
    frame: "pd.DataFrame",
    *,
    label: str | None = None,
    rows_per_run: int | None = None,
    inject: Sequence[str] = (),
    inject_from: float = 0.5,
    progress: Progress = no_progress,
) -> Backtest:
    """Run monitoring and fallback over a history of the service. Reads no database and writes nothing.

    The live core compares the history with the reference baseline of `init`, whatever the mode.

    Args:
        config: a `stillsafe.toml`, or settings already read.
        frame: the requests: a column per feature, and optionally `timestamp` and a label column.
        label: the label column; default the column `label`, if there is one.
        rows_per_run: rows of each run; default by time as the live monitor, if the history is dense enough.
        inject: faults to inject into the history, such as `nulls:age`.
        inject_from: start of the faults, as a share of the rows in [0, 1).
        progress: called with the activity and the share of it that is complete, in [0, 1].

    Raises:
        ConfigurationError: settings, model, columns, labels or faults are wrong, or there is no reference baseline.
        NoModel: the model runs elsewhere.
    """
    settings = settings_of(config)
    model = load_scoring_model(settings, "backtest")
    history = read_history(frame, settings.schema_of_features, label)
    context = BacktestContext(
        settings,
        _reference_of(settings),
        model.score,
        model.classes,
        fallback_of(settings),
    )
    return backtest_run.backtest(
        history,
        context,
        rows_per_run=rows_per_run,
        inject=inject,
        inject_from=inject_from,
        progress=progress,
    )


def _reference_of(settings: Settings) -> Baseline:
    """The reference baseline of the served model version.

    Raises:
        ConfigurationError: the file is missing or invalid, or belongs to another model version.
    """
    file = settings.path(settings.model.reference)
    reference = read_baseline(file)
    if reference.model_version != settings.model.version:
        problem = f"It is of model version {reference.model_version!r}, and {settings.model.version!r} is served."
        raise ConfigurationError(problem, "Make the service folder again with `stillsafe init`.", file=str(file))
    return reference


def shadow_scorer(settings: Settings) -> "LazyShadowScorer | None":
    """The scorer of bypassed rows; None if the model runs elsewhere, or the log lacks a feature that it needs."""
    return LazyShadowScorer(settings) if settings.has_shadow_scores else None


@dataclass(slots=True)
class LazyShadowScorer:
    """A scorer that loads the model at its first call, because loading is most of a run's time.

    Attributes:
        settings: of the service.
        model: None before the first call.
    """

    settings: Settings
    model: Model | None = None

    def __call__(self, rows: Sequence[Row]) -> list[Score]:
        """One score per row.

        Raises:
            RunRefused: the model cannot be loaded.
        """
        try:
            model = self._loaded_model()
        except ConfigurationError as error:
            problem = "The run must score the rows that the fallback answered, to judge recovery, and cannot"
            raise RunRefused(f"{problem}. {error}") from error
        return caps.cap_scores(self.settings.fallback, model.score(rows))

    def problem(self) -> str | None:
        """Why rows cannot be scored, or None if they can. A problem is logged."""
        try:
            self._loaded_model()
        except ConfigurationError as error:
            fields = {"message": str(error), "error": error.problem, "remedy": error.remedy, "file": error.file}
            names = {"service": self.settings.service.name, "model_version": self.settings.model.version}
            logs.log_event(logger, logs.LogEvent.SHADOW_SCORE_UNAVAILABLE, {**names, **fields})
            return str(error)
        return None

    def _loaded_model(self) -> Model:
        if self.model is None:
            self.model = load_model(self.settings)
        return self.model


def _explain(engine: Engine, settings: Settings, result: run.Run, now: datetime) -> None:
    """Explain the incident that a run opened or changed. The run is committed: a failure here costs only the text."""
    if result.decision is None or result.decision.incident is None:
        return
    try:
        incident_explanation.explain_newest(engine, settings, result.decision.incident.incident_id, now=now)
    except Exception as error:  # noqa: BLE001 - a failure here costs only the text
        log_event(logger, LogEvent.EXPLANATION_FAILED, error=error)
