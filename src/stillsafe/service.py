"""The composition: settings become an engine, a model, a fallback; and these become an app or a monitoring run."""

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from uuid import uuid4

from fastapi import FastAPI
from sqlalchemy import Engine

from stillsafe import incident_explanation, logs
from stillsafe.backtest import run as past
from stillsafe.backtest.history import read_history
from stillsafe.backtest.result import Backtest
from stillsafe.backtest.scoring import Judges, Scored
from stillsafe.backtest.scoring import Progress as BacktestProgress
from stillsafe.core.baseline import Baseline
from stillsafe.core.schema import Row
from stillsafe.dashboard import views
from stillsafe.errors import ConfigurationError
from stillsafe.model.model import Model, Score
from stillsafe.model.model import load as load_model
from stillsafe.monitoring import baseline, run
from stillsafe.rules import compile_fallback
from stillsafe.serving import app, predict
from stillsafe.serving.failover import Outage, drain
from stillsafe.serving.predict import Context
from stillsafe.settings import DEFAULT_FILE, Settings
from stillsafe.settings import load as load_settings
from stillsafe.store import database
from stillsafe.store.codec import from_document
from stillsafe.store.connection_registry import patience
from stillsafe.store.spool import Spool

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
CONFIG_VARIABLE = "STILLSAFE_CONFIG"
ORPHAN_CHECK_SECONDS = 0.5
SHORTEST_PATIENCE_SECONDS = 60.0
"""A run that has not ended by the next one's time is cut off from the database; but none sooner than this."""


def utc_now() -> datetime:
    """The one clock, handed in wherever time is needed."""
    return datetime.now(UTC)


def new_id() -> str:
    """A prediction's identifier."""
    return str(uuid4())


def config_file() -> str:
    """The settings file that is meant where none is named."""
    return os.environ.get(CONFIG_VARIABLE, DEFAULT_FILE)


def settings_of(config: Settings | Path | str) -> Settings:
    """Settings as they are, or read from a file.

    Raises:
        ConfigurationError: with the line and the remedy.
    """
    return config if isinstance(config, Settings) else load_settings(config)


def open_store(settings: Settings) -> Engine:
    """The service's database. A new one gets its tables and the reference baseline; another version's is refused.

    Raises:
        ConfigurationError: the URL or the reference file is wrong.
        SchemaMismatch: the database is of another version.
        StoreError: it cannot be read or written.
    """
    engine = database.connect(settings.database_url)
    make_ready(engine, settings)
    return engine


def make_ready(engine: Engine, settings: Settings) -> None:
    """Tables and reference baseline for a database that has none; see `open_store` for what it raises."""
    if database.revision(engine) is None:
        database.upgrade(engine)
    database.require_current(engine)
    baseline.ensure_reference(engine, settings)


def spool_of(settings: Settings) -> Spool:
    """Where this service's rows wait while its database server is out: beside its settings, or where they say."""
    beside = f"{settings.file.stem if settings.file else 'stillsafe'}.spool.db"
    return Spool(settings.path(settings.serving.spool or beside))


def open_store_or_spool(settings: Settings, clock: Clock) -> tuple[Engine, Outage | None]:
    """The service's database; a server that is out is opened later, and rows wait in the spool until then.

    Raises:
        As `open_store`; a server that cannot be reached raises nothing.
    """
    engine = database.connect(settings.database_url)
    if engine.dialect.name == "sqlite":
        make_ready(engine, settings)
        return engine, None
    outage = Outage(
        engine,
        spool_of(settings),
        settings.serving,
        read=partial(predict.stored_orders, engine, settings.model.version, clock),
        write=predict.write_spooled,
        prepare=partial(make_ready, engine, settings),
    )
    outage.begin()
    return engine, outage


def create_app(config: Settings | Path | str, *, clock: Clock = utc_now) -> FastAPI:
    """The API and the dashboard as an ASGI application.

    Args:
        config: a `stillsafe.toml`, or settings already read.
        clock: the current time, aware UTC; another one only where a story is played on simulated time.

    Raises:
        ConfigurationError: settings, model or fallback rules are wrong.
        StoreError: the database cannot be used.
    """
    settings = settings_of(config)
    model = load_model(settings)
    fallback = compile_fallback(settings.fallback, settings.schema_of_features, file=settings.file)
    engine, outage = open_store_or_spool(settings, clock)
    context = Context(settings, engine, model, fallback, clock, new_id, outage=outage)
    logger.info("serving", extra={"fields": {"process": os.getpid(), "model_version": model.version}})
    return app.build(context, pages=views.router(engine, settings, clock))


def app_from_environment() -> FastAPI:
    """What a worker process calls; the settings file is in the environment."""
    logs.set_up("INFO")
    Thread(target=_end_with, args=(os.getppid(),), name="stillsafe-parent", daemon=True).start()
    application = create_app(config_file())
    settle()
    return application


def settle() -> None:
    """Tell Python's cycle collector that what is loaded by now will stay.

    To search the libraries again, with every client waiting, would take it a tenth of a second each time.
    """
    gc.collect()
    gc.freeze()


def _end_with(parent: int) -> None:
    """End this worker once its parent is gone: an orphan would keep the port that the next start needs."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def monitor(config: Settings | Path | str, *, now: datetime) -> run.Run:
    """One monitoring run, and then, after its commit, the explanation of what happened.

    Raises:
        ConfigurationError: settings or model are wrong.
        RunRefused: `now` lies before the last run, or rows of this host still wait in the spool.
        StoreError: nothing was written.
    """
    settings = settings_of(config)
    engine = database.connect(settings.database_url)
    try:
        longest = max(settings.monitor.every, SHORTEST_PATIENCE_SECONDS) + settings.observer.budget
        with patience(engine, longest):
            make_ready(engine, settings)
            drain(engine, spool_of(settings), predict.write_spooled)
            done = run.run(engine, settings, now=now, score=shadow_scorer(settings))
            _explain(engine, settings, done, now)
    finally:
        engine.dispose()
    return done


def backtest(
    config: Settings | Path | str,
    frame: "pd.DataFrame",
    *,
    label: str | None = None,
    rows_per_run: int | None = None,
    inject: Sequence[str] = (),
    inject_from: float = 0.5,
    progress: BacktestProgress | None = None,
) -> Backtest:
    """What the service's rules would have done on a history of its own. Reads no database and writes nothing.

    The history is judged against the reference baseline that `init` made, by the live core, whatever the mode.

    Args:
        config: a `stillsafe.toml`, or settings already read.
        frame: the requests: the schema's features, where known a column `timestamp`, and one of true answers.
        label: the column with the true answers; default the column `label`, if there is one.
        rows_per_run: judge so many rows a run; default by time as the live monitor, where the history is dense enough.
        inject: faults to break the history with on purpose, such as `nulls:age`.
        inject_from: where in the history they begin, as a share of its rows in [0, 1).
        progress: told what is being done, and the share of it that is done, in [0, 1].

    Raises:
        ConfigurationError: settings, model, columns, labels or faults are wrong, or there is no reference baseline.
    """
    settings = settings_of(config)
    schema = settings.schema_of_features
    history = read_history(frame, schema, label)
    model = load_model(settings)
    judges = Judges(
        settings,
        _reference_of(settings),
        lambda rows: [_told(score) for score in model.score(rows)],
        model.classes,
        compile_fallback(settings.fallback, schema, file=settings.file),
    )
    return past.backtest(
        history,
        judges,
        rows_per_run=rows_per_run,
        inject=inject,
        inject_from=inject_from,
        progress=progress,
    )


def _told(score: Score) -> Scored:
    """What the model says of a row, for a layer that does not know the model's own words."""
    return Scored(score.prediction, score.text, score.confidence, score.error)


def _reference_of(settings: Settings) -> Baseline:
    """The reference baseline of the served model version.

    Raises:
        ConfigurationError: there is none.
    """
    document = baseline.read_reference(settings)
    file = str(settings.path(settings.model.reference))
    if document is None:
        raise ConfigurationError("There is no reference baseline.", "Make it with `stillsafe init`.", file=file)
    reference = from_document(Baseline, document["baseline"])
    if reference.model_version != settings.model.version:
        told = f"It is of model version {reference.model_version!r}, and {settings.model.version!r} is served."
        raise ConfigurationError(told, "Make the service folder again with `stillsafe init`.", file=file)
    return reference


def shadow_scorer(settings: Settings) -> "ShadowScorer | None":
    """Scores bypassed rows from the log; None where the log does not hold all that the model needs."""
    return ShadowScorer(settings) if settings.schema_of_features.scorable_from_log else None


@dataclass(slots=True)
class ShadowScorer:
    """The model behind a door that opens only when a row was really bypassed: loading it is most of a run's time."""

    settings: Settings
    model: Model | None = None

    def __call__(self, rows: Sequence[Row]) -> list[tuple[float | None, str | None, str | None]]:
        """Per row the confidence and the answer as text, or how the model failed on it."""
        if self.model is None:
            self.model = load_model(self.settings)
        return [(score.confidence, score.text, score.error) for score in self.model.score(rows)]


def _explain(engine: Engine, settings: Settings, done: run.Run, now: datetime) -> None:
    """Explain what a run did to an incident. It comes after the commit: whatever happens here, the run is done."""
    if done.decision is None or done.decision.incident is None:
        return
    try:
        incident_explanation.explain_newest(engine, settings, done.decision.incident.incident_id, now=now)
    except Exception:
        logger.exception("the incident could not be explained; nothing else is affected")
