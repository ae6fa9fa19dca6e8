"""Fill a service's log with some hours of predictions: healthy, then with a missing feature, then healthy again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import select

from stillsafe import service
from stillsafe.core.state import State
from stillsafe.model.load import load_model
from stillsafe.model.model import Model
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.records import PredictionRecord
from stillsafe.store.tables import current_window_metrics, incidents, system_state
from stillsafe.store.write.predictions import append_predictions

START = datetime(2026, 3, 1, tzinfo=UTC)
STEP = timedelta(minutes=10)
ROWS_A_STEP = 60
MONITOR_TABLES = (current_window_metrics, incidents, system_state)
"""The tables that a monitoring run writes in its transaction."""


def run_times(count: int) -> list[datetime]:
    """Times of the monitoring runs."""
    return [START + STEP * (each + 1) for each in range(count)]


def fill_store(
    folder: Path, url: str, rows: Sequence[dict[str, float]], *, steps: int, missing_steps: range
) -> Settings:
    """Fill a new store; in `missing_steps` the most important feature is 0.

    Returns:
        The service's settings on that store.
    """
    settings = service.settings_of(folder / "stillsafe.toml")
    settings = settings.model_copy(update={"service": settings.service.model_copy(update={"database": url})})
    engine, model = service.open_store(settings, create=True), load_model(settings)
    with database.writing(engine) as connection:
        for step in range(steps):
            append_predictions(connection, records(settings, model, rows, step, is_missing=step in missing_steps))
    engine.dispose()
    return settings


def records(
    settings: Settings, model: Model, rows: Sequence[dict[str, float]], step: int, *, is_missing: bool
) -> list[PredictionRecord]:
    """The model's predictions of one step."""
    random = Random(step)
    inputs: list[dict[str, Any]] = [dict(random.choice(rows)) for _ in range(ROWS_A_STEP)]
    if is_missing:
        for each in inputs:
            each["worst area"] = 0.0
    scores = model.score(inputs)
    return [
        PredictionRecord(
            prediction_id=f"{step}-{number}",
            timestamp=START + STEP * step + timedelta(seconds=number * 5),
            model_version=settings.model.version,
            system_state=State.NORMAL,
            input_summary=row,
            prediction=score.text or "",
            confidence_score=score.confidence,
            fallback_used=False,
            reason="synthetic",
        )
        for number, (row, score) in enumerate(zip(inputs, scores, strict=True))
    ]


def monitor_rows(url: str) -> dict[str, list[dict[str, Any]]]:
    """The rows that all runs have written, without their ids."""
    engine = database.connect(url)
    try:
        with database.reading(engine) as connection:
            return {
                table.name: [
                    {key: value for key, value in row._mapping.items() if key != "id"}
                    for row in connection.execute(select(table).order_by(*table.primary_key))
                ]
                for table in MONITOR_TABLES
            }
    finally:
        engine.dispose()
