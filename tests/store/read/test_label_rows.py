"""The labels that a run reads, by their ids, and the rows that they belong to."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection, delete

from stillsafe.store.read.label_rows import (
    LabelRow,
    LogGroups,
    group_counts,
    label_rows,
    labelled_features,
    labels_of_rows,
    next_label_marks,
    prediction_count,
    select_labels,
)
from stillsafe.store.read.row_selection import RowMarks
from stillsafe.store.row_ranges import RowRanges
from stillsafe.store.tables import labels
from stillsafe.store.write.labels import append_labels
from stillsafe.store.write.predictions import append_predictions
from tests.store.conftest import START, at, prediction

NOTHING = RowRanges()


def read(connection: Connection, marks: RowMarks, end: int = 90) -> list[LabelRow]:
    """The rows of the labels that no earlier run has read, in the order of the labels."""
    selection = select_labels(connection, marks)
    return sorted(row for batch in label_rows(connection, selection, "1", at(end)) for row in batch)


def test_a_label_is_read_once(connection: Connection) -> None:
    """By the first run that sees it, with the last of the labels that came since the run before."""
    append_predictions(connection, [prediction(number, at(number)) for number in range(4)])
    append_labels(connection, [("p0", "no"), ("p1", "yes"), ("p0", "yes")], at(10))
    rows = read(connection, RowMarks())
    assert [(row.id, row.label, row.timestamp) for row in rows] == [(2, "yes", at(1)), (3, "yes", at(0))]
    marks = next_label_marks(select_labels(connection, RowMarks()), NOTHING, at(20), START)
    append_labels(connection, [("p0", "no"), ("p2", "no")], at(30))
    assert [row.label for row in read(connection, marks)] == ["no"]
    assert [row.id for row in read(connection, RowMarks())] == [2, 4, 5]


def test_labels_that_are_too_few_wait(connection: Connection) -> None:
    """They stay open, and the next run reads them with the new ones."""
    append_predictions(connection, [prediction(number, at(number)) for number in range(4)])
    append_labels(connection, [("p0", "no"), ("p1", "yes")], at(10))
    marks = next_label_marks(select_labels(connection, RowMarks()), RowRanges(((1, 2),)), at(20), START)
    append_labels(connection, [("p2", "no")], at(30))
    assert [row.id for row in read(connection, marks)] == [1, 2, 3]


def test_an_id_that_no_label_has_may_come_later(connection: Connection) -> None:
    """Its transaction is still open; after the policy's time it is none any more."""
    append_predictions(connection, [prediction(number, at(number)) for number in range(4)])
    append_labels(connection, [("p0", "no"), ("p1", "yes"), ("p2", "no")], at(10))
    connection.execute(delete(labels).where(labels.c.id == 2))
    selection = select_labels(connection, RowMarks())
    assert (selection.read.ranges, selection.gaps.ranges) == (((1, 1), (3, 3)), ((2, 2),))
    marks = next_label_marks(selection, NOTHING, at(20), START)
    assert [(each.first, each.since) for each in marks.open] == [(2, at(20))]
    again = next_label_marks(select_labels(connection, marks), NOTHING, at(30), START)
    assert [(each.first, each.since) for each in again.open] == [(2, at(20))]
    over = next_label_marks(select_labels(connection, marks), NOTHING, at(30), at(20) + timedelta(seconds=1))
    assert over.open == ()


def test_other_rows_have_no_part(connection: Connection) -> None:
    """Those of other versions, synthetic ones, failures of the model, and rows from the end of the window on."""
    records = [
        prediction(0, at(0)),
        replace(prediction(1, at(1)), synthetic=True),
        prediction(2, at(2), version="2"),
        replace(prediction(3, at(3)), model_error="ValueError"),
        prediction(4, at(60)),
        replace(prediction(5, at(5)), fallback_used=True),
    ]
    append_predictions(connection, records)
    append_labels(connection, [(f"p{number}", "yes") for number in range(6)], at(70))
    rows = read(connection, RowMarks(), end=30)
    assert [(row.id, row.fallback_used, row.input_summary is None) for row in rows] == [
        (1, False, True),
        (6, True, False),
    ]
    span = at(0), at(60)
    assert prediction_count(connection, "1", span, 100, NOTHING) == 4
    assert prediction_count(connection, "1", span, 100, RowRanges(((1, 1),))) == 3


def test_without_labels_nothing_is_read(connection: Connection) -> None:
    """Not even a mark is left."""
    selection = select_labels(connection, RowMarks())
    assert (selection.newest, read(connection, RowMarks())) == (0, [])
    assert next_label_marks(selection, NOTHING, at(20), START).settled_to == 0


def test_rows_have_the_last_label(connection: Connection) -> None:
    """By their ids, and the newest with their features; rows of the fallback and of other times have none to score."""
    append_predictions(connection, [prediction(number, at(number)) for number in range(5)])
    append_predictions(connection, [prediction(5, at(5), fallback_used=True)])
    append_labels(connection, [("p0", "no"), ("p1", "yes"), ("p3", "yes"), ("p5", "no"), ("p0", "yes")], at(10))
    assert labels_of_rows(connection, [1, 3, 4]) == {1: "yes", 4: "yes"}
    assert labels_of_rows(connection, []) == {}
    newest = labelled_features(connection, "1", (at(0), at(9)), 2)
    assert newest == [("yes", {"size": 3.0, "town": "A"}), ("yes", {"size": 1.0, "town": "A"})]
    assert [text for text, _ in labelled_features(connection, "1", (at(0), at(1)), 9)] == ["yes"]


def test_predictions_are_counted_by_score_or_by_answer(connection: Connection) -> None:
    """A score on an edge belongs to the range above it; a rank is mirrored at the boundary between the answers."""
    records = [
        replace(prediction(number, at(number)), prediction=answer, confidence_score=confidence)
        for number, (answer, confidence) in enumerate([("yes", 0.75), ("yes", 0.5), ("no", 0.75), ("no", 0.5)])
    ]
    append_predictions(connection, [*records, prediction(4, at(4), fallback_used=True)])
    span = (at(0), at(90)), 99, NOTHING
    assert group_counts(connection, "1", *span, LogGroups("yes", (0.25, 0.5, 0.75))) == {1: 1, 2: 2, 3: 1}
    assert group_counts(connection, "1", *span, LogGroups("yes", (0.25, 0.875), is_rank=True)) == {0: 1, 1: 2, 2: 1}
    assert group_counts(connection, "1", *span, LogGroups("no", classes=("no", "yes"))) == {0: 2, 1: 2}
    assert group_counts(connection, "1", (at(1), at(2)), 99, RowRanges(((3, 3),)), LogGroups("yes", (0.6,))) == {0: 1}
