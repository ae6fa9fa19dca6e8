"""Labels that come in: late, in any order, repeated, corrected, and of predictions that nobody knows."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from stillsafe.label_intake import MOST_EXAMPLES, LabelForm, LabelItem, LabelReport, take_in
from stillsafe.store import database
from stillsafe.store.read.labels import label_history
from stillsafe.store.write.predictions import append_first_predictions, append_predictions
from tests.label_states import labels_in_force
from tests.store.conftest import START, at, empty, engine, identified_prediction, prediction

__all__ = ["empty", "engine"]


@pytest.fixture
def log(engine: Engine) -> Engine:
    """Predictions p0 to p4, and p9 with the client's id `order`."""
    with database.writing(engine) as connection:
        append_predictions(connection, [prediction(number) for number in range(5)])
        append_first_predictions(connection, [identified_prediction(9, "order")], START)
    return engine


def _item(name: str, label: str) -> LabelItem:
    return LabelItem(name, None, label) if name.startswith("p") else LabelItem(None, name, label)


def _take(engine: Engine, *items: LabelItem, dry_run: bool = False) -> LabelReport:
    with database.writing(engine) as connection:
        return take_in(connection, items, at(60), dry_run=dry_run)


def _counts(report: LabelReport) -> tuple[int, int, int, int]:
    return report.new_count, report.correction_count, report.repeat_count, report.unknown_count


def test_labels_are_stored_by_either_identifier(log: Engine) -> None:
    """New ones, corrections and repetitions are told apart, also within one delivery; unknown ones are named."""
    report = _take(log, _item("p1", "yes"), _item("order", "no"), _item("p1", "yes"), _item("gone", "no"))
    assert (_counts(report), report.unknown_ids) == ((2, 0, 1, 1), ["gone"])
    assert _counts(_take(log, _item("p1", "no"), _item("p9", "no"), _item("p7", "no"))) == (0, 1, 1, 1)
    with database.reading(log) as connection:
        assert labels_in_force(connection, ["p1", "p9"]) == {"p1": "no", "p9": "no"}
        assert [each.label for each in label_history(connection, "p1")] == ["yes", "no"]


def test_a_trial_counts_and_stores_nothing(log: Engine) -> None:
    """The same counts as the delivery itself has afterwards."""
    items = [_item("p1", "yes"), _item("p2", "no"), _item("p1", "no")]
    trial = _counts(_take(log, *items, dry_run=True))
    with database.reading(log) as connection:
        assert labels_in_force(connection, ["p1", "p2"]) == {}
    assert trial == _counts(_take(log, *items)) == (2, 1, 0, 0)


@pytest.mark.parametrize("order", [*permutations(range(3))][1:3])
def test_the_order_of_predictions_does_not_matter(log: Engine, order: Sequence[int]) -> None:
    """Late and early ones alike."""
    for number in order:
        _take(log, _item(f"p{number}", str(number)))
    with database.reading(log) as connection:
        assert labels_in_force(connection, ["p0", "p1", "p2"]) == {"p0": "0", "p1": "1", "p2": "2"}


def test_another_service_cannot_label_these_predictions(log: Engine) -> None:
    """Its labels are of unknown identifiers."""
    from stillsafe.store.write.services import register_service

    other = log.execution_options(service="other")
    with database.writing(log.execution_options(service="first")) as connection:
        register_service(connection)
    with database.writing(other) as connection:
        register_service(connection)
        report = take_in(connection, [_item("p1", "yes"), _item("order", "yes")], at(1))
    assert _counts(report) == (0, 0, 0, 2)


def test_a_report_lists_the_first_examples_and_adds_up() -> None:
    """However many batches a file has."""
    total = LabelReport()
    for batch in range(3):
        part = LabelReport(new_count=2, unknown_count=15, unknown_ids=[f"{batch}-{number}" for number in range(15)])
        for number in range(15):
            part.refuse(f"row {number}")
        total.add(part)
    document = total.document()
    assert (document["new_count"], document["unknown_count"], document["refusal_count"]) == (6, 45, 45)
    assert len(document["unknown_ids"]) == len(document["refusals"]) == MOST_EXAMPLES


@pytest.mark.parametrize(
    ("classes", "value", "text"),
    [
        (("yes", "no"), "yes", "yes"),
        (("yes", "no"), "maybe", None),
        (("yes", "no"), None, None),
        (("yes", "no"), ["yes"], None),
        ((0, 1), 1, "1"),
        ((0, 1), "1", "1"),
        ((0, 1), "1.0", "1"),
        ((0, 1), 1.0, "1"),
        ((0, 1), 2, None),
        ((0, 1), 0.5, None),
        ((False, True), True, "true"),
        ((False, True), "True", "true"),
        ((False, True), "false", "false"),
        ((1.5, 2.5), "1.5", "1.5"),
        ((), "2.50", "2.5"),
        ((), 3, "3.0"),
        ((), -0.125, "-0.125"),
        ((), "nan", None),
        ((), float("inf"), None),
        ((), True, None),
        ((), "x", None),
        ((), 10**400, None),
    ],
)
def test_a_label_has_the_text_of_the_models_answers(classes: tuple[Any, ...], value: object, text: str | None) -> None:
    """As the log stores a prediction; what the model can never answer is no label."""
    form = LabelForm(classes)
    assert form.text(value) == text
    assert ("a class of the model" if classes else "a finite number") in form.allowed


def test_an_empty_delivery_is_nothing(connection_of_log: Connection) -> None:
    """No query fails on it."""
    assert _counts(take_in(connection_of_log, [], at(1))) == (0, 0, 0, 0)


@pytest.fixture
def connection_of_log(log: Engine) -> Any:
    """A writing connection."""
    with database.writing(log) as connection:
        yield connection
