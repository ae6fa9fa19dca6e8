"""Queries for labels."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from stillsafe.store.read.labels import (
    LabelEntry,
    LabelTarget,
    OutcomeGroup,
    OutcomeSums,
    has_labels,
    label_history,
    label_targets,
    outcome_groups,
    outcome_sums,
)
from stillsafe.store.read.request_id import prediction_by_id
from stillsafe.store.write.labels import append_labels
from stillsafe.store.write.predictions import append_first_predictions, append_predictions
from tests.label_states import labels_in_force
from tests.store.conftest import at, identified_prediction, prediction


def test_the_last_label_to_arrive_is_in_force(connection: Connection) -> None:
    """The earlier ones are its history, whatever their time."""
    append_predictions(connection, [prediction(1), prediction(2)])
    append_labels(connection, [("p1", "yes")], at(5))
    append_labels(connection, [("p1", "no")], at(3))
    assert labels_in_force(connection, ["p1", "p2"]) == {"p1": "no"}
    assert label_history(connection, "p1") == [LabelEntry("yes", at(5)), LabelEntry("no", at(3))]
    predictions = [prediction_by_id(connection, each) for each in ("p1", "p2")]
    assert [each and each.label for each in predictions] == ["no", None]


def test_identifiers_of_the_log_are_told_from_others(connection: Connection) -> None:
    """A label of a prediction that was never made has no place."""
    append_predictions(connection, [prediction(1)])
    append_first_predictions(connection, [identified_prediction(7, "order")], at(0))
    append_labels(connection, [("p7", "yes"), ("p7", "no")], at(5))
    assert label_targets(connection, ["p1", "p2", "p7"], by_request_id=False) == {
        "p1": LabelTarget("p1", None),
        "p7": LabelTarget("p7", "no"),
    }
    assert label_targets(connection, ["order", "p1"], by_request_id=True) == {"order": LabelTarget("p7", "no")}
    assert label_targets(connection, [], by_request_id=True) == {}
    assert label_targets(connection, ["\x00", "a'b%s?:x"], by_request_id=False) == {}


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


def test_sums_agree_with_groups(connection: Connection) -> None:
    """Predictions, labels in force, hits, distance and delay; corrected labels and abstentions count as in groups."""
    append_predictions(connection, [prediction(number, at(number)) for number in range(6)])
    assert not has_labels(connection)
    append_labels(connection, [("p0", "no"), ("p1", "yes"), ("p2", "no")], at(30))
    append_labels(connection, [("p0", "yes")], at(60))
    sums = outcome_sums(connection, at(0), at(5), "1")
    groups = outcome_groups(connection, at(0), at(5), "1", with_confidence=True)
    assert has_labels(connection)
    assert (sums.prediction_count, sums.label_count, sums.hit_count) == (5, 3, 2)
    assert sums.coverage == 0.6
    assert sums.delay_seconds == pytest.approx(60 * (60 + 29 + 28) / 3, abs=0.01)
    assert {(each.label, each.confidence, each.count) for each in groups} == {
        (None, None, 2),
        ("yes", 0.9, 2),
        ("no", 0.9, 1),
    }


def test_numbers_have_a_mean_distance(connection: Connection) -> None:
    """Of the labelled ones; without any there is none."""
    records = [replace(prediction(number), prediction=float(number)) for number in range(4)]
    append_predictions(connection, records)
    append_labels(connection, [("p1", "1.5"), ("p3", "2.0")], at(1))
    assert outcome_sums(connection, at(0), at(5), "1").distance == pytest.approx(0.75)
    assert outcome_sums(connection, at(7), at(8), "1") == OutcomeSums(0, 0, 0, None, None)
    assert OutcomeSums(0, 0, 0, None, None).coverage is None
