"""Queries for ids of requests, and for single predictions."""

from dataclasses import replace

from sqlalchemy import Connection, Engine

from stillsafe.store import database
from stillsafe.store.read.request_id import (
    IdOwner,
    duplicate_count,
    id_owners,
    prediction_by_id,
    predictions_of_request,
    repeated_answers,
    rows_with_ids,
)
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.write.predictions import append_first_predictions, append_missing_predictions, append_predictions
from tests.store.conftest import START, at, identified_prediction, prediction


def test_a_stored_answer_is_the_answer_that_was_sent(connection: Connection) -> None:
    """Every field, with its type, also those that the log has no column for."""
    for number, answer in enumerate(["yes", True, 3, 2.5, 1e22, -0.0, None]):
        record = replace(
            identified_prediction(number, f"r{number}"), prediction=answer, judged_at=at(5), fallback_kind="rules"
        )
        append_first_predictions(connection, [record], START)
        (again,) = repeated_answers(connection, [f"r{number}"]).values()
        assert repr(again) == repr(replace(record, is_repeat=True))


def test_the_owner_of_an_id_is_known(connection: Connection) -> None:
    """Of those that have one."""
    append_first_predictions(connection, [identified_prediction(1)], START)
    assert id_owners(connection, ["a", "b"]) == {"a": IdOwner("p1", "hash", START)}


def test_a_prediction_is_found_with_its_id_and_its_duplicates(connection: Connection) -> None:
    """The first of an id, then those that an outage left; a plain prediction has no id."""
    append_predictions(connection, [prediction(0)])
    append_missing_predictions(connection, [identified_prediction(1), identified_prediction(2, timestamp=at(1))])
    predictions = predictions_of_request(connection, "a")
    assert [(each.prediction_id, each.is_duplicate, each.synthetic) for each in predictions] == [
        ("p1", False, False),
        ("p2", True, True),
    ]
    assert duplicate_count(connection) == 1
    plain = prediction_by_id(connection, "p0")
    assert plain is not None
    assert (plain.id, plain.is_duplicate, plain.features) == (None, False, {"size": 0.0, "town": "A"})
    assert prediction_by_id(connection, "p9") is None
    assert predictions_of_request(connection, "b") == []


def test_another_service_has_ids_and_predictions_of_its_own(engine: Engine) -> None:
    """One database, two services: the same id twice, and neither sees the other's rows."""
    from stillsafe.store.write.services import register_service

    one, two = (engine.execution_options(service=name) for name in ("one", "two"))
    with database.writing(one) as connection:
        register_service(connection)
        append_first_predictions(connection, [identified_prediction(1)], START)
    with database.writing(two) as connection:
        register_service(connection)
        assert append_first_predictions(connection, [identified_prediction(2)], START) == {}
        assert prediction_by_id(connection, "p1") is None
        assert [each.prediction_id for each in predictions_of_request(connection, "a")] == ["p2"]


def test_whole_rows_have_the_ids_of_their_requests(connection: Connection) -> None:
    """An owner's and a duplicate's; refusals have none."""
    append_first_predictions(connection, [identified_prediction(7, "order"), prediction(1)], START)
    append_missing_predictions(connection, [identified_prediction(8, "order")])
    rows = rows_with_ids(connection, RequestTable.PREDICTIONS, [1, 2, 3])
    assert {row["prediction_id"]: row["request_id"] for row in rows} == {"p7": "order", "p1": None, "p8": "order"}
    assert rows_with_ids(connection, RequestTable.REFUSALS, [1]) == []
