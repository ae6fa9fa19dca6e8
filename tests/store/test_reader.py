"""What is read: the right rows, the right order, also of rows that somebody else wrote."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Table, insert

from stillsafe.core.state import Memory, State
from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.read.baselines import active_baseline, all_baselines, baseline_by_id
from stillsafe.store.read.incidents import incident_by_id, incident_explanations, recent_incidents
from stillsafe.store.read.requests import (
    LogRows,
    first_healthy_rows,
    last_prediction_row,
    last_refusal_row,
    last_request_at,
    prediction_count,
    refusal_count,
    window_batches,
    window_row_count,
    window_rows,
)
from stillsafe.store.read.runs import all_runs, last_run, recent_runs, run_at
from stillsafe.store.read.state import current_state
from stillsafe.store.tables import (
    baseline_metrics,
    current_window_metrics,
    incidents,
    llm_explanations,
    prediction_logs,
    system_state,
)
from stillsafe.store.write.predictions import RefusalRecord, append_predictions, append_refusals
from tests.store.conftest import START, at, prediction

MICROSECOND = 1 / 60e6


def log(connection: Connection, *minutes: float, version: str = "1") -> None:
    """Answers at these minutes after the start."""
    first = last_prediction_row(connection)
    records = [prediction(first + i, at(when), version=version) for i, when in enumerate(minutes, start=1)]
    append_predictions(connection, records)


def refuse(connection: Connection, *minutes: float, version: str = "1") -> None:
    """Refusals at these minutes after the start."""
    records = [RefusalRecord(at(when), version, (("size", "missing"),)) for when in minutes]
    append_refusals(connection, records)


def run(connection: Connection, minutes: float, **columns: Any) -> None:
    """A run's row, as another program might have written it."""
    values = {
        "window_start": at(minutes - 15),
        "window_end": at(minutes),
        "prediction_count": 10,
        "avg_confidence": None,
        "low_confidence_rate": None,
        "feature_anomalies": {},
        "unseen_categories": False,
    }
    connection.execute(insert(current_window_metrics).values({**values, **columns}))


def open_incident(connection: Connection, incident_id: str, minutes: float, *, resolved: bool = False) -> None:
    """An incident's row, with the mission's columns only."""
    values = {
        "incident_id": incident_id,
        "detected_at": at(minutes),
        "severity": "WARNING",
        "trigger_signals": ["avg_confidence"],
        "decision_reason": "why",
        "fallback_activated": False,
        "resolved": resolved,
    }
    connection.execute(insert(incidents).values(values))


def test_a_window_in_batches_is_the_same(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some rows at a time, each once, those after the boundary fresh."""
    monkeypatch.setattr("stillsafe.store.read.requests.BATCH_ROWS", 3)
    log(connection, *range(10))
    parts = list(window_batches(connection, at(1), at(9), at(4), "1", 9))
    assert [len(part.ids) for part in parts] == [3, 3, 2]
    found = sorted((each, bool(new)) for part in parts for each, new in zip(part.ids, part.fresh, strict=True))
    assert found == [(i, i >= 5) for i in range(2, 10)]
    whole = window_rows(connection, at(1), at(9), "1", 9)
    assert sorted(text for part in parts for text in part.input_summaries) == sorted(whole.input_summaries)
    assert window_row_count(connection, at(1), at(9), "1", 9) == 8


def test_a_window_is_half_open(connection: Connection) -> None:
    """Its start belongs to it, its end does not: no row is counted in two adjoining windows, and none is lost."""
    log(connection, -MICROSECOND, 0, 7, 15 - MICROSECOND, 15)
    first = window_rows(connection, at(0), at(15), "1")
    second = window_rows(connection, at(15), at(30), "1")
    assert (list(first.ids), list(second.ids)) == ([2, 3, 4], [5])
    assert list(first.timestamps) == [at(0), at(7), at(15 - MICROSECOND)]


def test_a_window_speaks_of_one_version(connection: Connection) -> None:
    """Rows of another model version are not mixed in."""
    log(connection, 1, 2)
    log(connection, 3, version="2")
    assert list(window_rows(connection, at(0), at(15), "2").ids) == [3]


def test_rows_that_came_later_stay_out(connection: Connection) -> None:
    """Up to a row id, a window can be read again as it was when it was judged."""
    log(connection, 3, 1, 2)
    assert list(window_rows(connection, at(0), at(15), "1", up_to_row=2).ids) == [1, 2]
    assert list(window_rows(connection, at(0), at(15), "1", up_to_row=0).ids) == []


def test_rows_come_as_columns_in_the_order_of_their_ids(connection: Connection) -> None:
    """Each column as long as the others, and each value as it was logged."""
    answers = [prediction(2, at(2)), prediction(1, at(1), fallback_used=True, model_error="timed out")]
    append_predictions(connection, answers)
    found = window_rows(connection, at(0), at(15), "1")
    assert len(found) == 2
    assert found == LogRows(
        (1, 2),
        (at(2), at(1)),
        ('{"size":2.0,"town":"A"}', '{"size":1.0,"town":"A"}'),
        ("yes", "yes"),
        (0.9, None),
        (False, True),
        (None, "timed out"),
    )


def test_an_empty_window_has_no_rows(connection: Connection) -> None:
    """Nothing logged is nothing read, not an error."""
    found = window_rows(connection, at(0), at(15), "1")
    assert len(found) == 0
    assert found == LogRows((), (), (), (), (), (), ())


def test_the_first_healthy_rows_are_those_that_the_model_answered_in_normal(connection: Connection) -> None:
    """Neither bypassed rows, nor rows of another state or version, stand for healthy behaviour."""
    rows = [
        prediction(1),
        prediction(2, state=State.WARNING),
        prediction(3, fallback_used=True),
        prediction(4, version="2"),
        prediction(5, state=State.DEGRADED, fallback_used=True),
        prediction(6, at(-60)),
        prediction(7),
    ]
    append_predictions(connection, rows)
    assert list(first_healthy_rows(connection, "1", 10).ids) == [1, 6, 7]
    assert list(first_healthy_rows(connection, "1", 2).ids) == [1, 6]


def test_the_newest_row_ids_are_zero_where_there_is_no_row(connection: Connection) -> None:
    """So that a first run has a bound, too."""
    assert (last_prediction_row(connection), last_refusal_row(connection)) == (0, 0)
    log(connection, 1, 2)
    refuse(connection, 1)
    assert (last_prediction_row(connection), last_refusal_row(connection)) == (2, 1)


def test_refusals_are_counted_as_predictions_are(connection: Connection) -> None:
    """Half open, of one version, up to a row."""
    refuse(connection, 0, 5, 15)
    refuse(connection, 5, version="2")
    assert refusal_count(connection, at(0), at(15), "1") == 2
    assert refusal_count(connection, at(0), at(15), "1", up_to_row=1) == 1
    assert refusal_count(connection, at(0), at(15), "2") == 1


def test_predictions_are_counted_by_version_or_all(connection: Connection) -> None:
    """One number for each question."""
    log(connection, 1, 2)
    log(connection, 3, version="2")
    counts = [prediction_count(connection, version) for version in ("1", "2", "3", None)]
    assert counts == [2, 1, 0, 3]


def test_the_last_request_may_have_been_refused(connection: Connection) -> None:
    """Silence is the absence of requests, not of answers; later ones and later rows are left out."""
    assert last_request_at(connection, at(60)) is None
    log(connection, 1, 4, 2)
    assert last_request_at(connection, at(60)) == at(4)
    refuse(connection, 3, 6)
    assert last_request_at(connection, at(60)) == at(6)
    assert last_request_at(connection, at(6)) == at(4)
    assert last_request_at(connection, at(60), up_to_prediction=1, up_to_refusal=1) == at(3)
    assert last_request_at(connection, at(60), up_to_prediction=0, up_to_refusal=0) is None


def test_runs_are_read_in_both_directions(connection: Connection) -> None:
    """The newest first for people, the oldest first for whoever recomputes, and each by its window's end."""
    assert last_run(connection) is None
    for minutes in (10, 20, 30):
        run(connection, minutes)
    last = last_run(connection)
    assert last is not None
    assert last.window_end == at(30)
    assert [found.window_end for found in recent_runs(connection, 2)] == [at(30), at(20)]
    assert [found.window_end for found in all_runs(connection)] == [at(10), at(20), at(30)]
    assert run_at(connection, at(20)) == recent_runs(connection, 2)[1]
    assert run_at(connection, at(25)) is None


def test_incidents_are_listed_newest_first(connection: Connection) -> None:
    """By detection, then by id; all of them, or those that are open."""
    open_incident(connection, "d", 5)
    open_incident(connection, "c", 1, resolved=True)
    open_incident(connection, "a", 9, resolved=True)
    open_incident(connection, "b", 5)
    names = [one.incident_id for one in recent_incidents(connection, 10)]
    assert names == ["a", "d", "b", "c"]
    assert [one.incident_id for one in recent_incidents(connection, 2)] == names[:2]
    open_ones = recent_incidents(connection, 1, unresolved_only=True)
    assert [one.incident_id for one in open_ones] == ["d"]


def test_an_incident_is_found_by_its_id(connection: Connection) -> None:
    """Or is none."""
    open_incident(connection, "a", 5)
    found = incident_by_id(connection, "a")
    assert found is not None
    assert (found.detected_at, found.resolution) == (at(5), None)
    assert incident_by_id(connection, "b") is None


def test_before_anything_is_decided_there_is_no_state(connection: Connection) -> None:
    """Unknown is not NORMAL: whoever asks is told that there is none."""
    assert current_state(connection) is None


def test_a_state_is_stale_once_it_is_no_longer_valid(connection: Connection) -> None:
    """Up to its last moment it counts, after it no more; one that no run made never did."""
    values = {"current_state": "WARNING", "last_updated": START, "reason": "why"}
    values |= {"valid_until": at(20), "checked_at": START}
    connection.execute(insert(system_state).values(values))
    state = current_state(connection)
    assert state is not None
    assert not state.stale(at(20))
    assert state.stale(at(20 + MICROSECOND))
    assert state.stale(START - timedelta(hours=2)), "a last run in the future says nothing about now"
    connection.execute(system_state.update().values(valid_until=None))
    state = current_state(connection)
    assert state is not None
    assert state.stale(START)


MISSION_ROWS: dict[Table, dict[str, Any]] = {
    prediction_logs: {
        "timestamp": START,
        "model_version": "1",
        "system_state": "NORMAL",
        "input_summary": {"size": 1},
        "prediction": "yes",
        "confidence_score": 0.9,
        "fallback_used": False,
    },
    baseline_metrics: {
        "baseline_id": "by-hand",
        "created_at": START,
        "sample_size": 10,
        "avg_confidence": 0.9,
        "low_confidence_rate": 0.1,
        "feature_ranges": {},
        "category_frequencies": {},
        "missing_value_rates": {},
    },
    system_state: {"current_state": "DEGRADED", "last_updated": START, "reason": "by hand"},
    llm_explanations: {
        "incident_id": "a",
        "generated_at": START,
        "summary": "so",
        "recommendations": "do",
        "llm_model": "m",
    },
}


def test_rows_with_only_the_columns_of_the_mission_are_read(connection: Connection) -> None:
    """An older version, another program or a person may have written them: ours are then empty."""
    for table, values in MISSION_ROWS.items():
        connection.execute(insert(table).values(values))
    run(connection, 10)
    open_incident(connection, "a", 5)
    assert list(window_rows(connection, at(0), at(1), "1").confidences) == [0.9]
    state = current_state(connection)
    assert state is not None
    assert (state.state, state.memory, state.held) == (State.DEGRADED, Memory(state=State.DEGRADED), False)
    assert (state.damaged_features, state.stale(START)) == ((), True)
    (found,) = all_runs(connection)
    assert (found.shadow, found.memory, found.incident_id) == (False, None, None)
    (told,) = incident_explanations(connection, "a")
    assert told.incident_status is None
    assert all_baselines(connection) == []
    assert active_baseline(connection, "1") is None


def test_rows_written_in_plain_sql_are_read(sqlite: Engine) -> None:
    """With the database's own shell, times as SQLite writes them itself."""
    with database.writing(sqlite) as connection:
        connection.exec_driver_sql("""
            INSERT INTO prediction_logs
                (timestamp, model_version, system_state, input_summary, prediction, confidence_score, fallback_used)
            VALUES (datetime('2026-03-01T12:00:30+00:00'), '1', 'NORMAL', '{"size": 1}', 0.5, 0.9, 0)
        """)
        found = window_rows(connection, at(0), at(1), "1")
    assert (list(found.timestamps), list(found.predictions)) == ([at(0.5)], ["0.5"])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("current_state = 'FINE'", r"^The database holds a damaged state \(.*'NORMAL', 'WARNING' or 'DEGRADED'\)\.$"),
        ("""memory = '{"state": "FINE"}'""", r"^The database holds a damaged memory \(state: .*\)\.$"),
        ("memory = '{'", r"^The database holds a document that is not JSON: .*\.$"),
    ],
)
def test_a_damaged_state_is_a_store_error(sqlite: Engine, damage: str, told: str) -> None:
    """What cannot be understood is never taken for NORMAL, nor for a bug: it is told as what it is."""
    with database.writing(sqlite) as connection:
        connection.execute(insert(system_state).values(MISSION_ROWS[system_state]))
        connection.exec_driver_sql(f"UPDATE system_state SET {damage}")  # noqa: S608 # one of the three above
    refuse_to_read(sqlite, current_state, told)


def test_a_damaged_baseline_is_a_store_error(engine: Engine) -> None:
    """A model is not judged by what is no baseline any more."""
    values = {**MISSION_ROWS[baseline_metrics], "model_version": "1", "active": True, "document": {"baseline_id": "b"}}
    with database.writing(engine) as connection:
        connection.execute(insert(baseline_metrics).values(values))
    told = r"^The database holds a damaged baseline \(model_version: .*\)\.$"
    for read in (lambda c: active_baseline(c, "1"), lambda c: baseline_by_id(c, "by-hand"), all_baselines):
        refuse_to_read(engine, read, told)


def refuse_to_read(engine: Engine, read: Callable[[Connection], object], told: str) -> None:
    with database.reading(engine) as connection, pytest.raises(StoreError, match=told):
        read(connection)


def test_the_more_careful_state_is_obeyed(connection: Connection) -> None:
    """A state that contradicts its own memory is not believed where it is the calmer one."""
    degraded = to_document(Memory(state=State.DEGRADED))
    values = {"id": 1, "last_updated": START, "reason": "why"}
    connection.execute(insert(system_state).values(current_state="NORMAL", memory=degraded, **values))
    found = current_state(connection)
    assert found is not None
    assert found.state is State.DEGRADED
    connection.execute(system_state.update().values(current_state="DEGRADED", memory=to_document(Memory())))
    found = current_state(connection)
    assert found is not None
    assert found.state is State.DEGRADED
