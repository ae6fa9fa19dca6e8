"""The composition: settings become an engine, a model, a fallback; and these become an app or a monitoring run."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from fastapi import FastAPI
from sqlalchemy import Engine

from stillsafe.core.schema import Row
from stillsafe.dashboard import views
from stillsafe.errors import StillsafeError
from stillsafe.monitoring import baseline, run
from stillsafe.observer import offline
from stillsafe.observer.payload import Explanation, IncidentPayload, Traffic, describe
from stillsafe.rules import compile_fallback
from stillsafe.serving import app
from stillsafe.serving.model import Model
from stillsafe.serving.model import load as load_model
from stillsafe.serving.predict import Context
from stillsafe.settings import DEFAULT_FILE, Settings
from stillsafe.settings import load as load_settings
from stillsafe.store import database, explanation_log

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
CONFIG_VARIABLE = "STILLSAFE_CONFIG"


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
    if database.revision(engine) is None:
        database.upgrade(engine)
    database.require_current(engine)
    baseline.ensure_reference(engine, settings)
    return engine


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
    engine = open_store(settings)
    context = Context(settings, engine, model, fallback, clock, new_id)
    return app.build(context, pages=views.router(engine, settings, clock))


def app_from_environment() -> FastAPI:
    """What a worker process calls; the settings file is in the environment."""
    return create_app(config_file())


def monitor(config: Settings | Path | str, *, now: datetime) -> run.Run:
    """One monitoring run, and then, after its commit, the explanation of what happened.

    Raises:
        ConfigurationError: settings or model are wrong.
        RunRefused: `now` lies before the last run.
        StoreError: nothing was written.
    """
    settings = settings_of(config)
    engine = open_store(settings)
    try:
        done = run.run(engine, settings, now=now, score=shadow_scorer(settings))
        explain(engine, settings, done)
    finally:
        engine.dispose()
    return done


def shadow_scorer(settings: Settings) -> "ShadowScorer | None":
    """Scores bypassed rows from the log; None where the log does not hold all that the model needs."""
    return ShadowScorer(settings) if settings.schema_of_features.scorable_from_log else None


@dataclass(slots=True)
class ShadowScorer:
    """The model behind a door that opens only when a row was really bypassed: loading it is most of a run's time."""

    settings: Settings
    model: Model | None = None

    def __call__(self, rows: Sequence[Row]) -> list[tuple[float | None, str | None]]:
        """Per row the confidence, or how the model failed on it."""
        if self.model is None:
            self.model = load_model(self.settings)
        return [(score.confidence, score.error) for score in self.model.score(rows)]


def explain(engine: Engine, settings: Settings, done: run.Run) -> Explanation | None:
    """Explain what a run did to an incident. It comes after the commit and may fail: nothing depends on it."""
    payload = _payload(settings, done)
    if payload is None:
        return None
    try:
        explanation = offline.explain(payload)
        with database.writing(engine) as connection:
            explanation_log.append(
                connection,
                incident_id=payload.incident_id,
                incident_status=payload.status,
                generated_at=payload.at,
                summary=explanation.summary,
                recommendations=explanation.recommendations,
                llm_model=explanation.llm_model,
            )
    except StillsafeError:
        logger.exception("the incident could not be explained; nothing else is affected")
        return None
    return explanation


def _payload(settings: Settings, done: run.Run) -> IncidentPayload | None:
    if done.window is None or done.decision is None or done.decision.incident is None:
        return None
    window = done.window
    counts = window.total
    return describe(
        done.decision.incident,
        done.decision.readings,
        service=settings.service.name,
        model_version=window.model_version,
        fallback=str(settings.fallback.default),
        enforced=settings.service.mode == "enforce",
        traffic=Traffic(counts.prediction_count, counts.fallback_count, counts.refusal_count, counts.model_error_count),
        window_start=window.start,
        window_end=window.end,
        unseen_examples={name: feature.unseen_examples for name, feature in window.fresh.features.items()},
    )
