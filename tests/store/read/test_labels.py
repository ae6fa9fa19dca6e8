"""Queries for labels."""

from dataclasses import replace

from sqlalchemy import Connection

from stillsafe.store.read.labels import (
    LabelEntry,
    OutcomeGroup,
    current_labels,
    label_history,
    logged_ids,
    outcome_groups,
)
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


def test_predictions_are_counted_by_answer_label_and_source(connection: Connection) -> None:
    """By the label in force; synthetic rows, other versions and other times do not count."""
    records = [prediction(number, at(number), fallback_used=number == 4) for number in range(6)]
    others = [replace(prediction(6), synthetic=True), prediction(7, version="2"), prediction(8, at(90))]
    append_predictions(connection, [*records, *others])
    append_labels(connection, [("p0", "no"), ("p1", "yes"), ("p4", "yes"), ("p6", "no"), ("p7", "no")], at(10))
    append_labels(connection, [("p0", "yes")], at(11))
    groups = outcome_groups(connection, at(0), at(60), "1")
    counts = {(group.prediction, group.label, group.fallback_used): group.count for group in groups}
    assert counts == {("yes", "yes", False): 2, ("yes", "yes", True): 1, ("yes", None, False): 3}
    delays = {group.label and group.fallback_used: round(group.delay_seconds or 0) for group in groups}
    assert delays == {False: 600, True: 360, None: 0}
    assert isinstance(groups[0], OutcomeGroup)
