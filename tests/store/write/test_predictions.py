"""The audit log: every answer and every refusal, in order, with the mission's columns filled."""

import pytest
from sqlalchemy import Connection, Engine, select

from stillsafe.core.state import State
from stillsafe.errors import StoreError
from stillsafe.store.tables import prediction_logs, refusals
from stillsafe.store.write.predictions import RefusalRecord, append_predictions, append_refusals
from tests.store.conftest import START, at, prediction, write


def test_every_column_is_written(connection: Connection) -> None:
    """An answered request is stored as it was answered, column by column."""
    answered = prediction(1, state=State.DEGRADED, fallback_used=True, model_error="timed out")
    append_predictions(connection, [answered])
    (row,) = connection.execute(select(prediction_logs)).mappings()
    assert dict(row) == {
        "id": 1,
        "timestamp": START,
        "model_version": "1",
        "system_state": "DEGRADED",
        "input_summary": {"size": 1.0, "town": "A"},
        "prediction": "yes",
        "confidence_score": None,
        "fallback_used": True,
        "prediction_id": "p1",
        "decided_by": "fallback",
        "reason": "because",
        "model_error": "timed out",
    }


def test_rows_keep_the_order_in_which_they_were_answered(connection: Connection) -> None:
    """Ids grow as rows are given, whatever their times say."""
    append_predictions(connection, [prediction(number, at(-number)) for number in range(50)])
    append_predictions(connection, [prediction(50)])
    ids = connection.execute(select(prediction_logs.c.prediction_id).order_by(prediction_logs.c.id)).scalars().all()
    assert ids == [f"p{number}" for number in range(51)]


def test_nothing_is_written_of_nothing(connection: Connection) -> None:
    """An empty batch is no row."""
    append_predictions(connection, [])
    append_refusals(connection, [])
    assert connection.execute(select(prediction_logs)).first() is None
    assert connection.execute(select(refusals)).first() is None


def test_an_answer_is_written_once(engine: Engine) -> None:
    """The same prediction id twice is refused."""
    write(engine, prediction(1))
    with pytest.raises(StoreError, match="prediction_id"):
        write(engine, prediction(1))


def test_a_refusal_keeps_the_kind_of_error_and_not_the_value(connection: Connection) -> None:
    """Of a refused request there are the features at fault and what was wrong with each."""
    wrong = (("size", "not_finite"), ("town", "missing"))
    append_refusals(connection, [RefusalRecord(START, "1", wrong), RefusalRecord(at(1), "2", ())])
    rows = [tuple(row) for row in connection.execute(select(refusals).order_by(refusals.c.id))]
    expected = [{"feature": "size", "kind": "not_finite"}, {"feature": "town", "kind": "missing"}]
    assert rows == [(1, START, "1", expected), (2, at(1), "2", [])]
