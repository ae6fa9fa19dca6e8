"""A log with rows of an older version, which have the mission's columns only."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert

from stillsafe.store import database
from stillsafe.store.tables import prediction_logs
from tests.faults.api import BODY, Api


def test_older_rows_are_read_and_evaluated(on_either: Api) -> None:
    """The rows count like any others, and a replay from the log finds no difference."""
    now = datetime.now(UTC)
    version = on_either.get("/v1/model")["version"]
    engine = database.connect(on_either.database)
    rows = [
        {
            "timestamp": now - timedelta(seconds=number),
            "model_version": version,
            "system_state": "NORMAL",
            "input_summary": BODY if number % 2 else {},
            "prediction": "1",
            "confidence_score": 0.9,
            "fallback_used": False,
        }
        for number in range(1, 101)
    ]
    with database.writing(engine) as connection:
        connection.execute(insert(prediction_logs), rows)
    engine.dispose()
    on_either.predict()
    assert on_either.command("monitor").returncode == 0
    assert on_either.get("/v1/windows")["windows"][0]["prediction_count"] == 101
    replay = on_either.command("replay", "--from-logs")
    assert replay.returncode == 0, replay.stdout
