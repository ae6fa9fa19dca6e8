"""Predictions by column: the records, and what is stored, are those of the rows."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, select

from stillsafe.core.state import State
from stillsafe.store import database
from stillsafe.store.prediction_columns import PredictionColumns
from stillsafe.store.records import PredictionRecord
from stillsafe.store.tables import prediction_logs
from stillsafe.store.write.predictions import append_predictions

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)


def columns_of(predictions: list[Any], prefix: str = "id") -> PredictionColumns:
    """Answers with a snapshot of one feature."""
    count = len(predictions)
    new_record = partial(PredictionRecord, model_version="1", system_state=State.WARNING, reason="why", source="s")
    return PredictionColumns(
        [f"{prefix}{number:04}" for number in range(count)],
        NOW,
        new_record,
        [f'{{"x":{number}.0}}' for number in range(count)],
        predictions,
        [number / count for number in range(count)],
        {"no": [0.25] * count, "yes": [0.75] * count},
    )


def test_records() -> None:
    """One, some, and all."""
    answers = columns_of(["no", "yes", "no"])
    record = answers[1]
    assert (record.prediction_id, record.prediction, record.confidence_score) == ("id0001", "yes", 1 / 3)
    assert record.input_summary == {"x": 1.0}
    assert record.probabilities == {"no": 0.25, "yes": 0.75}
    assert [each.prediction_id for each in answers[1:]] == ["id0001", "id0002"]
    assert [*answers] == [answers[0], answers[1], answers[2]]


@pytest.mark.parametrize(
    ("predictions", "texts"),
    [(["a", "b"], ["a", "b"]), ([1, 0], ["1", "0"]), ([True, 1], ["true", "1"]), ([0.0, -0.0], ["0.0", "-0.0"])],
)
def test_texts(predictions: list[Any], texts: list[str]) -> None:
    """As each record has it, though some answers are equal."""
    answers = columns_of(predictions)
    assert answers.texts() == texts == [each.prediction_text for each in answers]


def test_what_is_stored(engine: Engine) -> None:
    """The same rows as from the records, in order, also more than one statement takes."""
    answers = columns_of(["no", "yes\0"] * 300)
    others = [*columns_of(["no", "yes\0"] * 300, "other")]
    with database.writing(engine) as connection:
        append_predictions(connection, answers)
        append_predictions(connection, others)
    log = prediction_logs
    columns = [each for each in log.c if each.name not in ("id", "prediction_id")]
    with database.reading(engine) as connection:
        rows = connection.execute(select(log.c.prediction_id, *columns).order_by(log.c.id)).all()
    assert [row[0] for row in rows] == [*answers.ids, *(each.prediction_id for each in others)]
    assert [row[1:] for row in rows[:600]] == [row[1:] for row in rows[600:]]
