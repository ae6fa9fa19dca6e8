"""Rows are found by what they are of, on both stores, and arrivals after an erasure are recognised."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from operator import eq

import pytest
from sqlalchemy import Connection

from stillsafe.store.erasure_marks import MarkKind, Subject
from stillsafe.store.read.erasures import (
    all_erasures,
    all_explanations,
    archive_folders,
    erased_records,
    erased_rows,
    label_count,
    marked_row_ids,
    matcher_of,
    rows_by_id,
    shared_count,
    subject_rows,
    unfinished_matches,
    windows_between,
)
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.write.erasures import begin_erasure, mark_rows
from stillsafe.store.write.labels import append_labels
from stillsafe.store.write.predictions import append_first_predictions, append_missing_predictions, append_predictions
from stillsafe.store.write.retention import delete_requests, record_prune
from tests.store.conftest import START, at, connection, empty, engine, identified_prediction, prediction

__all__ = ["connection", "empty", "engine"]
SALT = "ab" * 16


@pytest.fixture
def log(connection: Connection) -> Connection:
    """Rows p0 to p4, p7 with the id `order`, and p8, a duplicate of it; all sizes are the numbers."""
    append_predictions(connection, [prediction(number, at(number)) for number in range(5)])
    append_first_predictions(connection, [identified_prediction(7, "order")], START)
    append_missing_predictions(connection, [identified_prediction(8, "order")])
    return connection


@pytest.mark.parametrize(
    ("subject", "names"),
    [
        (Subject(MarkKind.PREDICTION, "p3"), {"p3"}),
        (Subject(MarkKind.REQUEST, "order"), {"p7", "p8"}),
        (Subject(MarkKind.FEATURE, 2, "size"), {"p2"}),
        (Subject(MarkKind.FEATURE, "A", "town"), {"p0", "p1", "p2", "p3", "p7", "p8"}),
        (Subject(MarkKind.FEATURE, "2.0", "size"), set()),
        (Subject(MarkKind.REQUEST, "p3"), set()),
    ],
)
def test_rows_are_found_by_their_subject_and_by_its_hash(log: Connection, subject: Subject, names: set[str]) -> None:
    """The quick search finds what the search of the whole log by hashes finds; later requests are left out."""
    time = at(3)
    rows = {row.traces.prediction_id for row in subject_rows(log, [subject], time)}
    assert rows == names
    erasure = begin_erasure(log, [subject], at=time, by="me", reason="why", salt=SALT)
    (record,) = all_erasures(log)
    assert (record.id, record.by, record.reason, record.completed_at) == (erasure, "me", "why", None)
    assert {row.traces.prediction_id for row in unfinished_matches(log, record)} == names


def test_marked_rows_are_known_by_row_id_and_hour(log: Connection) -> None:
    """Until they go, and afterwards."""
    erasure = begin_erasure(log, [], at=at(9), by="me", reason="why", salt=SALT)
    rows = list(subject_rows(log, [Subject(MarkKind.REQUEST, "order")], at(9)))
    mark_rows(log, erasure, SALT, rows)
    ids = sorted(row.id for row in rows)
    assert marked_row_ids(log, erasure) == ids
    append_labels(log, [("p7", "yes"), ("p7", "no")], at(9))
    assert label_count(log, ids) == 2
    delete_requests(log, RequestTable.PREDICTIONS, ids)
    assert marked_row_ids(log, erasure) == []
    assert rows_by_id(log, ids) == []
    hour = START.replace(minute=0)
    assert sorted(erased_rows(log)) == [(row_id, "1", hour) for row_id in ids]
    assert label_count(log, ids) == 0


def test_an_arrival_after_the_erasure_is_recognised(log: Connection) -> None:
    """By the prediction's identifier, or the id of an earlier request; not by one of a later request."""
    subjects = [Subject(MarkKind.REQUEST, "order"), Subject(MarkKind.PREDICTION, "p3")]
    begin_erasure(log, subjects, at=at(9), by="me", reason="why", salt=SALT)
    late = replace(identified_prediction(22, "order"), timestamp=at(10))
    records = [prediction(3), prediction(4), identified_prediction(21, "order"), late]
    assert erased_records(log, records) == {"p3", "p21"}
    assert erased_records(log, []) == set()
    assert erased_records(log, [replace(prediction(3), timestamp=at(9) + timedelta(days=3))]) == set()
    assert matcher_of(log, all_erasures(log)[0]).matches(next(iter(rows_by_id(log, [4]))).traces)


def test_values_are_counted_up_to_a_limit(log: Connection) -> None:
    """A text that many rows share need not be counted whole."""
    counts = [
        shared_count(log, Subject(MarkKind.FEATURE, text, "town"), partial(eq, text), limit)
        for text, limit in (("A", 99), ("A", 3), ("B", 3))
    ]
    assert counts == [7, 3, 0]


TEXTS = (
    "Jörg",
    "Zoë Ångström",
    "日本",
    'a": "b',
    "back\\slash",
    "tab\tnew\nline",
    "A",
    "\x7f",
    "x" * 200,
    "'",
    "😀",
    "",
)


@pytest.mark.parametrize("feature", ["town", "größe", 'na": me'])
def test_a_value_is_found_and_counted_exactly(connection: Connection, feature: str) -> None:
    """Of texts that any sign may be in, under any name: those rows, and no other row that has the feature."""
    rows = [replace(prediction(number, at(number)), input_summary={feature: text}) for number, text in enumerate(TEXTS)]
    append_predictions(connection, [*rows, replace(prediction(99, at(99)), input_summary={feature: 7})])
    for number, text in enumerate(TEXTS):
        subject = Subject(MarkKind.FEATURE, text, feature)
        assert {row.traces.prediction_id for row in subject_rows(connection, [subject], at(999))} == {f"p{number}"}
        assert shared_count(connection, subject, partial(eq, text), 99) == 1, text


def test_archives_texts_and_windows_are_listed(log: Connection) -> None:
    """Each folder once; an empty store has no texts."""
    for folder in ("old", "old", None):
        record_prune(log, at=START, end=START, counts=(1, 1), archive=folder)
    assert archive_folders(log) == ["old"]
    assert all_explanations(log) == []
    assert list(windows_between(log, START, at(99))) == []
