"""Queries for the log: the right rows, in the right order, whoever wrote them."""

import pytest
from sqlalchemy import Connection, Engine, insert

from stillsafe.core.state import State
from stillsafe.store import database
from stillsafe.store.read.requests import (
    LogRows,
    RequestTable,
    first_healthy_rows,
    last_prediction_row,
    last_refusal_row,
    last_request_at,
    oldest_request_at,
    prediction_count,
    refusal_count,
    request_count,
    request_ids,
    request_rows,
    window_batches,
    window_rows,
)
from stillsafe.store.tables import prediction_logs
from stillsafe.store.write.predictions import append_predictions
from tests.store.conftest import at, prediction
from tests.store.read.rows import MICROSECOND, PREDICTION, insert_run, log_predictions, log_refusals


def test_the_batches_of_a_window_are_its_rows(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row comes once, in batches of the set size, and is fresh from the boundary on."""
    monkeypatch.setattr("stillsafe.store.read.requests.BATCH_ROWS", 3)
    log_predictions(connection, *range(10))
    batches = list(window_batches(connection, at(1), at(9), at(4), "1", 9))
    assert [len(batch.ids) for batch in batches] == [3, 3, 2]
    rows = sorted(
        (row_id, bool(fresh)) for batch in batches for row_id, fresh in zip(batch.ids, batch.fresh, strict=True)
    )
    assert rows == [(i, i >= 5) for i in range(2, 10)]
    whole = window_rows(connection, at(1), at(9), "1", 9)
    assert sorted(text for batch in batches for text in batch.input_summaries) == sorted(whole.input_summaries)


def test_a_window_is_half_open(connection: Connection) -> None:
    """A window includes its start and excludes its end, so adjoining windows share no row and lose none."""
    log_predictions(connection, -MICROSECOND, 0, 7, 15 - MICROSECOND, 15)
    first = window_rows(connection, at(0), at(15), "1")
    second = window_rows(connection, at(15), at(30), "1")
    assert (list(first.ids), list(second.ids)) == ([2, 3, 4], [5])
    assert list(first.timestamps) == [at(0), at(7), at(15 - MICROSECOND)]


def test_a_window_has_the_rows_of_one_version(connection: Connection) -> None:
    """Rows of another model version are left out."""
    log_predictions(connection, 1, 2)
    log_predictions(connection, 3, version="2")
    assert list(window_rows(connection, at(0), at(15), "2").ids) == [3]


def test_later_rows_stay_out(connection: Connection) -> None:
    """With a last row id a window is read as it was when a run analysed it."""
    log_predictions(connection, 3, 1, 2)
    assert list(window_rows(connection, at(0), at(15), "1", up_to_row=2).ids) == [1, 2]
    assert list(window_rows(connection, at(0), at(15), "1", up_to_row=0).ids) == []


def test_rows_come_as_columns_in_the_order_of_their_ids(connection: Connection) -> None:
    """All columns have equal length, and each value is as it was logged."""
    records = [prediction(2, at(2)), prediction(1, at(1), fallback_used=True, model_error="timed out")]
    append_predictions(connection, records)
    rows = window_rows(connection, at(0), at(15), "1")
    assert len(rows) == 2
    assert rows == LogRows(
        (1, 2),
        (at(2), at(1)),
        ('{"size":2.0,"town":"A"}', '{"size":1.0,"town":"A"}'),
        ("yes", "yes"),
        (0.9, None),
        (False, True),
        (None, "timed out"),
    )


def test_an_empty_window_has_no_rows(connection: Connection) -> None:
    """A window without rows is no error."""
    rows = window_rows(connection, at(0), at(15), "1")
    assert len(rows) == 0
    assert rows == LogRows((), (), (), (), (), (), ())


def test_healthy_rows_are_answers_of_the_model_in_normal(connection: Connection) -> None:
    """Rows of the fallback, of another state or of another version are not healthy."""
    records = [
        prediction(1),
        prediction(2, state=State.WARNING),
        prediction(3, fallback_used=True),
        prediction(4, version="2"),
        prediction(5, state=State.DEGRADED, fallback_used=True),
        prediction(6, at(-60)),
        prediction(7),
    ]
    append_predictions(connection, records)
    assert list(first_healthy_rows(connection, "1", 10).ids) == [1, 6, 7]
    assert list(first_healthy_rows(connection, "1", 2).ids) == [1, 6]


def test_rows_of_a_deviating_run_are_not_healthy(connection: Connection) -> None:
    """The state follows a deviation only some runs later, so the fresh rows of every deviating run are left out."""
    log_predictions(connection, 1, 6, 11, 21)
    insert_run(connection, 15, evidence="BAD", model_version="1", fresh_since=at(5))
    insert_run(connection, 25, evidence="OK", model_version="1", fresh_since=at(15))
    assert list(first_healthy_rows(connection, "1", 10).ids) == [1, 4]


def test_the_newest_row_ids_are_zero_without_rows(connection: Connection) -> None:
    """A first run has a last row id, too."""
    assert (last_prediction_row(connection), last_refusal_row(connection)) == (0, 0)
    log_predictions(connection, 1, 2)
    log_refusals(connection, 1)
    assert (last_prediction_row(connection), last_refusal_row(connection)) == (2, 1)


def test_refusals_are_counted_as_predictions_are(connection: Connection) -> None:
    """In a half-open window, of one version, up to a row id."""
    log_refusals(connection, 0, 5, 15)
    log_refusals(connection, 5, version="2")
    assert refusal_count(connection, at(0), at(15), "1") == 2
    assert refusal_count(connection, at(0), at(15), "1", up_to_row=1) == 1
    assert refusal_count(connection, at(0), at(15), "2") == 1


def test_predictions_are_counted_by_version_or_all(connection: Connection) -> None:
    """None counts the rows of every version."""
    log_predictions(connection, 1, 2)
    log_predictions(connection, 3, version="2")
    counts = [prediction_count(connection, version) for version in ("1", "2", "3", None)]
    assert counts == [2, 1, 0, 3]


def test_the_last_request_may_be_a_refusal(connection: Connection) -> None:
    """Silence is the absence of requests, answered or refused; later times and later rows are left out."""
    assert last_request_at(connection, at(60)) is None
    log_predictions(connection, 1, 4, 2)
    assert last_request_at(connection, at(60)) == at(4)
    log_refusals(connection, 3, 6)
    assert last_request_at(connection, at(60)) == at(6)
    assert last_request_at(connection, at(6)) == at(4)
    assert last_request_at(connection, at(60), up_to_prediction=1, up_to_refusal=1) == at(3)
    assert last_request_at(connection, at(60), up_to_prediction=0, up_to_refusal=0) is None


def test_retention_reads_each_table_by_time_and_version(connection: Connection) -> None:
    """The oldest request, the number of requests and their ids are those of one table before a time."""
    log_predictions(connection, 5, 1)
    log_predictions(connection, 2, version="2")
    log_refusals(connection, 3)
    predictions, refusals = RequestTable.PREDICTIONS, RequestTable.REFUSALS
    assert oldest_request_at(connection, predictions, at(60)) == (at(1), "1")
    assert oldest_request_at(connection, predictions, at(1)) is None
    assert oldest_request_at(connection, refusals, at(60)) == (at(3), "1")
    assert [request_count(connection, predictions, at(minutes)) for minutes in (1, 2, 60)] == [0, 1, 3]
    assert request_ids(connection, predictions, at(0), at(5), "1") == [2]
    assert request_ids(connection, predictions, at(0), at(6), "1") == [1, 2]


def test_whole_rows_are_read_with_their_documents_as_text(connection: Connection) -> None:
    """An archive stores documents exactly as the database does."""
    log_predictions(connection, 5, 1)
    (row,) = request_rows(connection, RequestTable.PREDICTIONS, [2])
    assert (row["prediction_id"], row["timestamp"]) == ("p2", at(1))
    assert row["input_summary"] == '{"size":2.0,"town":"A"}'


def test_a_row_with_only_the_missions_columns_is_read(connection: Connection) -> None:
    """An older version, another program or a person may have written it: the other columns are None."""
    connection.execute(insert(prediction_logs).values(PREDICTION))
    rows = window_rows(connection, at(0), at(1), "1")
    assert (list(rows.confidences), list(rows.model_errors)) == ([0.9], [None])


def test_rows_written_in_plain_sql_are_read(sqlite: Engine) -> None:
    """Times may have the format of SQLite's own functions."""
    with database.writing(sqlite) as connection:
        connection.exec_driver_sql("""
            INSERT INTO prediction_logs
                (timestamp, model_version, system_state, input_summary, prediction, confidence_score, fallback_used)
            VALUES (datetime('2026-03-01T12:00:30+00:00'), '1', 'NORMAL', '{"size": 1}', 0.5, 0.9, 0)
        """)
        rows = window_rows(connection, at(0), at(1), "1")
    assert (list(rows.timestamps), list(rows.predictions)) == ([at(0.5)], ["0.5"])
