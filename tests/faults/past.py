"""A made service's log of some hours, told without serving it: healthy, then a feature lost, then healthy again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import select

from stillsafe import service
from stillsafe.core.state import State
from stillsafe.model.model import load
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.tables import current_window_metrics, incidents, system_state
from stillsafe.store.write.predictions import PredictionRecord, append_predictions

START = datetime(2026, 3, 1, tzinfo=UTC)
STEP = timedelta(minutes=10)
ROWS_A_STEP = 60
TOLD = (current_window_metrics, incidents, system_state)
"""The tables that a run of the monitor writes in its one transaction."""


def ends(count: int) -> list[datetime]:
    """When the monitor runs."""
    return [START + STEP * (each + 1) for each in range(count)]


def logged(folder: Path, url: str, rows: Sequence[dict[str, float]], *, steps: int, lost: range) -> Settings:
    """Fill a new store; within the steps `lost` the feature that matters most is missing.

    Returns:
        The service's settings on that store.
    """
    settings = service.settings_of(folder / "stillsafe.toml")
    settings = settings.model_copy(update={"service": settings.service.model_copy(update={"database": url})})
    engine = service.open_store(settings)
    with database.writing(engine) as connection:
        for step in range(steps):
            append_predictions(connection, records(settings, rows, step, lost=step in lost))
    engine.dispose()
    return settings


def records(settings: Settings, rows: Sequence[dict[str, float]], step: int, *, lost: bool) -> list[PredictionRecord]:
    """One step's answers of the real model."""
    random = Random(step)
    inputs: list[dict[str, Any]] = [dict(random.choice(rows)) for _ in range(ROWS_A_STEP)]
    if lost:
        for each in inputs:
            each["worst area"] = 0.0
    model = load(settings)
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
            reason="told",
        )
        for number, (row, score) in enumerate(zip(inputs, scores, strict=True))
    ]


def told(url: str) -> dict[str, list[dict[str, Any]]]:
    """What all runs have written, without the numbers of the rows."""
    engine = database.connect(url)
    try:
        with database.reading(engine) as connection:
            return {
                table.name: [
                    {key: value for key, value in row._mapping.items() if key != "id"}
                    for row in connection.execute(select(table).order_by(*table.primary_key))
                ]
                for table in TOLD
            }
    finally:
        engine.dispose()
