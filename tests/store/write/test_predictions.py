"""The log: every prediction and every refusal, in order, with all columns."""

import pytest
from sqlalchemy import Connection, Engine, select

from stillsafe.core.state import State
from stillsafe.errors import StoreError
from stillsafe.store.records import RefusalRecord
from stillsafe.store.tables import prediction_logs, refusals
from stillsafe.store.write.predictions import (
    append_missing_predictions,
    append_missing_refusals,
    append_predictions,
    append_refusals,
)
from tests.store.conftest import START, at, prediction, write


def test_every_column_is_written(connection: Connection) -> None:
    """The row has every field of the record."""
    record = prediction(1, state=State.DEGRADED, fallback_used=True, model_error="timed out")
    append_predictions(connection, [record])
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
        "synthetic": False,
        "source": None,
        "trace_id": None,
        "service_id": 1,
    }


def test_ids_grow_in_the_order_of_the_records(connection: Connection) -> None:
    """Whatever the records' timestamps."""
    append_predictions(connection, [prediction(number, at(-number)) for number in range(50)])
    append_predictions(connection, [prediction(50)])
    ids = connection.execute(select(prediction_logs.c.prediction_id).order_by(prediction_logs.c.id)).scalars().all()
    assert ids == [f"p{number}" for number in range(51)]


def test_an_empty_batch_writes_nothing(connection: Connection) -> None:
    """Neither predictions nor refusals."""
    append_predictions(connection, [])
    append_refusals(connection, [])
    assert connection.execute(select(prediction_logs)).first() is None
    assert connection.execute(select(refusals)).first() is None


def test_a_prediction_id_is_unique(engine: Engine) -> None:
    """The same prediction id twice is refused."""
    write(engine, prediction(1))
    with pytest.raises(StoreError, match="prediction_id"):
        write(engine, prediction(1))


def test_only_missing_predictions_are_inserted(connection: Connection) -> None:
    """Rows from the spool that an earlier commit has stored already are left out, and the stored ones stay."""
    append_predictions(connection, [prediction(1, at(5))])
    append_missing_predictions(connection, [prediction(number) for number in (0, 1, 2)])
    append_missing_predictions(connection, [])
    rows = connection.execute(select(prediction_logs.c.prediction_id, prediction_logs.c.timestamp)).all()
    assert {(row.prediction_id, row.timestamp) for row in rows} == {("p0", START), ("p1", at(5)), ("p2", START)}


def test_only_missing_refusals_are_inserted(connection: Connection) -> None:
    """Refusals have no id: those of one timestamp and version were committed together, or not at all."""
    batch = [RefusalRecord(START, "1", ()), RefusalRecord(START, "1", ())]
    append_missing_refusals(connection, batch)
    append_missing_refusals(connection, batch)
    append_missing_refusals(connection, [RefusalRecord(START, "2", ())])
    rows = connection.execute(select(refusals.c.model_version).order_by(refusals.c.id)).scalars().all()
    assert rows == ["1", "1", "2"]


def test_a_refusal_keeps_the_kind_of_error_and_not_the_value(connection: Connection) -> None:
    """The row lists the features at fault and the kind of error of each."""
    wrong = (("size", "not_finite"), ("town", "missing"))
    append_refusals(connection, [RefusalRecord(START, "1", wrong), RefusalRecord(at(1), "2", ())])
    rows = [tuple(row) for row in connection.execute(select(refusals).order_by(refusals.c.id))]
    expected = [{"feature": "size", "kind": "not_finite"}, {"feature": "town", "kind": "missing"}]
    assert rows == [(1, START, "1", expected, None, 1), (2, at(1), "2", [], None, 1)]
