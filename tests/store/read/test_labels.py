"""Queries for labels."""

from sqlalchemy import Connection

from stillsafe.store.read.labels import LabelEntry, current_labels, label_history, logged_ids
from stillsafe.store.read.request_id import prediction_by_id
from stillsafe.store.write.labels import append_labels
from stillsafe.store.write.predictions import append_predictions
from tests.store.conftest import at, prediction


def test_the_last_label_to_arrive_is_in_force(connection: Connection) -> None:
    """The earlier ones are its history, whatever their time."""
    append_predictions(connection, [prediction(1), prediction(2)])
    append_labels(connection, [("p1", "yes")], at(5))
    append_labels(connection, [("p1", "no")], at(3))
    assert current_labels(connection, ["p1", "p2"]) == {"p1": "no"}
    assert label_history(connection, "p1") == [LabelEntry("yes", at(5)), LabelEntry("no", at(3))]
    predictions = [prediction_by_id(connection, each) for each in ("p1", "p2")]
    assert [each and each.label for each in predictions] == ["no", None]


def test_identifiers_of_the_log_are_told_from_others(connection: Connection) -> None:
    """A label of a prediction that was never made has no place."""
    append_predictions(connection, [prediction(1)])
    assert logged_ids(connection, ["p1", "p2"]) == {"p1"}
    assert logged_ids(connection, []) == set()
