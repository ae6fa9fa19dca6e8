"""A migrated database for every test of the store, and example records."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline, BaselineSource, FeatureBaseline
from stillsafe.core.schema import FeatureType, Row
from stillsafe.core.state import State
from stillsafe.core.window import FeatureTally, Tally, Window
from stillsafe.store import database
from stillsafe.store.records import PredictionRecord, RequestId
from stillsafe.store.write.predictions import append_predictions

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=10)


@pytest.fixture
def empty(store_url: str) -> Iterator[Engine]:
    """An engine on a database without tables."""
    engine = database.connect(store_url)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(empty: Engine) -> Engine:
    """An engine on a database with this version's tables."""
    database.upgrade(empty)
    return empty


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """One write transaction on that database."""
    with database.writing(engine) as connection:
        yield connection


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An engine on a migrated SQLite database, for the guarantees of SQLite."""
    engine = database.connect(f"sqlite:///{tmp_path / 'log.db'}")
    database.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A migrated SQLite file without open connections, to be damaged."""
    path = tmp_path / "damaged.db"
    engine = database.connect(f"sqlite:///{path}")
    database.upgrade(engine)
    engine.dispose()
    return path


def at(minutes: float) -> datetime:
    """Minutes after the start."""
    return START + timedelta(minutes=minutes)


def prediction(
    number: int,
    timestamp: datetime = START,
    *,
    version: str = "1",
    state: State = State.NORMAL,
    fallback_used: bool = False,
    model_error: str | None = None,
) -> PredictionRecord:
    """One answered request."""
    confidence = None if fallback_used else 0.9
    summary: Row = {"size": float(number), "town": "A"}
    why = "because"
    return PredictionRecord(
        f"p{number}", timestamp, version, state, summary, "yes", confidence, fallback_used, why, model_error
    )


def identified_prediction(
    number: int, text: str = "a", timestamp: datetime = START, *, body_hash: str = "hash"
) -> PredictionRecord:
    """One answered request with an id of its client."""
    identity = RequestId(text, body_hash)
    return replace(prediction(number, timestamp), request_id=identity, probabilities={"yes": 0.9, "no": 0.1})


def write(engine: Engine, *records: PredictionRecord) -> None:
    """Log answered requests in one commit."""
    with database.writing(engine) as connection:
        append_predictions(connection, records)


def baseline(baseline_id: str = "b1", version: str = "1", created_at: datetime = START) -> Baseline:
    """The healthy period of a service with a number and a category."""
    return Baseline(
        baseline_id,
        version,
        created_at,
        BaselineSource.FIRST,
        sample_size=1000,
        confidence_count=1000,
        avg_confidence=0.9,
        confidence_sd=0.05,
        low_confidence_threshold=0.8,
        low_confidence_rate=0.1,
        features={
            "size": FeatureBaseline(FeatureType.NUMERIC, 990, 10, -1.5, 99.5),
            "town": FeatureBaseline(FeatureType.CATEGORY, 1000, 0, category_counts={"A": 750, "B": 250}),
        },
    )


def window(run: int, *, unseen_rate: float = 0.0, prediction_count: int = 200) -> Window:
    """The window of a numbered run, in which a share of the towns is new."""
    unseen = round(prediction_count * unseen_rate)
    examples = {"Z": unseen} if unseen else {}
    tally = Tally(
        prediction_count,
        prediction_count,
        0.9 * prediction_count,
        0.8125 * prediction_count,
        prediction_count // 10,
        features={
            "size": FeatureTally(prediction_count),
            "town": FeatureTally(prediction_count, unseen_count=unseen, unseen_examples=examples),
        },
    )
    return Window(START + run * STEP - 1.5 * STEP, START + run * STEP, "1", tally, tally)
