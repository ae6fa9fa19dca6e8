"""Rows of every table for the tests of queries: as Stillsafe writes them, and as another program might."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert

from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.read.requests import last_prediction_row
from stillsafe.store.records import RefusalRecord
from stillsafe.store.tables import current_window_metrics, incidents
from stillsafe.store.write.predictions import append_predictions, append_refusals
from tests.store.conftest import START, at, prediction

MICROSECOND = 1 / 60e6
"""In minutes."""
PREDICTION = {
    "timestamp": START,
    "model_version": "1",
    "system_state": "NORMAL",
    "input_summary": {"size": 1},
    "prediction": "yes",
    "confidence_score": 0.9,
    "fallback_used": False,
}
"""A row of `prediction_logs` with the mission's columns only; so are the three below."""
BASELINE: dict[str, Any] = {
    "baseline_id": "by-hand",
    "created_at": START,
    "sample_size": 10,
    "avg_confidence": 0.9,
    "low_confidence_rate": 0.1,
    "feature_ranges": {},
    "category_frequencies": {},
    "missing_value_rates": {},
}
STATE = {"current_state": "DEGRADED", "last_updated": START, "reason": "by hand"}
EXPLANATION = {
    "incident_id": "a",
    "generated_at": START,
    "summary": "so",
    "recommendations": "do",
    "llm_model": "m",
}


def log_predictions(connection: Connection, *minutes: float, version: str = "1") -> None:
    """Log one prediction at each of these minutes after the start."""
    last_row = last_prediction_row(connection)
    records = [prediction(last_row + i, at(when), version=version) for i, when in enumerate(minutes, start=1)]
    append_predictions(connection, records)


def log_refusals(connection: Connection, *minutes: float, version: str = "1") -> None:
    """Log one refusal at each of these minutes after the start."""
    append_refusals(connection, [RefusalRecord(at(when), version, (("size", "missing"),)) for when in minutes])


def insert_run(connection: Connection, minutes: float, **columns: Any) -> None:
    """Insert a run with the mission's columns only, and with `columns`."""
    values = {
        "window_start": at(minutes - 15),
        "window_end": at(minutes),
        "prediction_count": 10,
        "avg_confidence": None,
        "low_confidence_rate": None,
        "feature_anomalies": {},
        "unseen_categories": False,
    }
    connection.execute(insert(current_window_metrics).values({**values, **columns}))


def insert_incident(connection: Connection, incident_id: str, minutes: float, *, resolved: bool = False) -> None:
    """Insert an incident with the mission's columns only."""
    values = {
        "incident_id": incident_id,
        "detected_at": at(minutes),
        "severity": "WARNING",
        "trigger_signals": ["avg_confidence"],
        "decision_reason": "why",
        "fallback_activated": False,
        "resolved": resolved,
    }
    connection.execute(insert(incidents).values(values))


def assert_query_fails(engine: Engine, query: Callable[[Connection], object], message: str) -> None:
    """The query raises a store error with this message."""
    with database.reading(engine) as connection, pytest.raises(StoreError, match=message):
        query(connection)
