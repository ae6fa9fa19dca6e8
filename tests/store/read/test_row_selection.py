"""Which rows a run reads: each row exactly once, wherever its time and its id lie."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, insert, select

from stillsafe.store import database
from stillsafe.store.codec import stored_value, to_document
from stillsafe.store.read.requests import fresh_batches, judged_batches
from stillsafe.store.read.row_selection import (
    OpenRange,
    RowMarks,
    RowSelection,
    RunSpan,
    evidence_rows,
    next_marks,
    own_rows,
    select_rows,
    within,
)
from stillsafe.store.row_ranges import RowRanges
from stillsafe.store.tables import prediction_logs, refusals, services
from stillsafe.store.write.predictions import append_predictions
from tests.store.conftest import at, prediction
from tests.store.read.rows import PREDICTION, log_predictions, log_refusals

CARRY = timedelta(hours=2)


class Reader:
    """Runs one after the other that only select rows, as the monitor does.

    Args:
        connection: of the service.
        version: whose rows.
        most_rows: rows that one run reads at most.
    """

    def __init__(self, connection: Connection, version: str = "1", most_rows: int = 1000) -> None:
        self.connection, self.version, self.most_rows = connection, version, most_rows
        self.marks = RowMarks()
        self.conclusive_end: datetime | None = None
        self.spans: list[tuple[RowMarks, RowSelection, RunSpan]] = []

    def run(self, minutes: float, *, is_conclusive: bool = True) -> RowSelection:
        """The rows of the run that ends then; `fresh` and `judged` tell which they are."""
        span = RunSpan(at(minutes) - CARRY, at(minutes), self.conclusive_end, self.most_rows)
        selection = select_rows(self.connection, prediction_logs, self.version, self.marks, span)
        self.spans.append((self.marks, selection, span))
        self.marks = stored_value(
            RowMarks, to_document(next_marks(self.marks, selection, span, is_conclusive=is_conclusive))
        )
        if is_conclusive:
            self.conclusive_end = at(minutes)
        return selection

    def fresh(self, run: int = -1) -> list[int]:
        """Ids of the fresh rows of a run, as a replay reads them now."""
        _, selection, span = self.spans[run]
        times = (span.carry_start, span.end)
        batches = fresh_batches(self.connection, selection.read, times, self.version, with_ids=True)
        return sorted(row_id for batch in batches for row_id in batch.ids)

    def judged(self, run: int = -1, minutes: float = 15) -> list[int]:
        """Ids of the rows in a run's window that earlier runs had settled."""
        marks, _, span = self.spans[run]
        times = (span.end - timedelta(minutes=minutes), span.end)
        batches = judged_batches(self.connection, marks, times, self.version, with_ids=True)
        return sorted(row_id for batch in batches for row_id in batch.ids)


@pytest.fixture
def reader(connection: Connection) -> Reader:
    """The runs of version 1."""
    return Reader(connection)


def test_each_row_is_fresh_once(connection: Connection, reader: Reader) -> None:
    """Rows of the window that a conclusive run has read are in the next window, too, but not as fresh."""
    log_predictions(connection, 1, 8)
    assert reader.run(10).row_count == 2
    log_predictions(connection, 12)
    selection = reader.run(20)
    assert (reader.fresh(), reader.judged()) == ([3], [2])
    assert (selection.oldest_at, selection.late_count, selection.expired_count) == (at(12), 0, 0)
    assert reader.run(30).row_count == 0


def test_nothing_is_read_of_an_empty_log(reader: Reader) -> None:
    """Neither by the first run nor by the next."""
    assert reader.run(10) == RowSelection(0)
    assert reader.run(20) == RowSelection(0)
    assert reader.marks == RowMarks(settled_before=at(20))


def test_rows_that_come_late_are_read_and_counted(connection: Connection, reader: Reader) -> None:
    """A row with a time that an earlier conclusive run had covered is fresh for the next one, and late."""
    log_predictions(connection, 5)
    reader.run(10)
    log_predictions(connection, 3, 15)
    selection = reader.run(20)
    assert (reader.fresh(), selection.late_count) == ([2, 3], 1)
    assert selection.oldest_at == at(3)


def test_rows_with_a_future_time_wait_for_their_run(connection: Connection, reader: Reader) -> None:
    """A writer's clock may be ahead: its row is read when its time has come, and the rows around it are not again."""
    log_predictions(connection, 5, 17, 6, 33, 7)
    reader.run(10)
    assert reader.fresh() == [1, 3, 5]
    log_predictions(connection, 12)
    assert (reader.run(20).late_count, reader.fresh(), reader.judged()) == (0, [2, 6], [1, 3, 5])
    reader.run(30)
    assert (reader.fresh(), reader.judged()) == ([], [2])
    reader.run(40)
    assert (reader.fresh(), reader.judged(minutes=60)) == ([4], [1, 2, 3, 5, 6])


def test_many_rows_ahead_of_the_clock_cost_no_ranges(connection: Connection, reader: Reader) -> None:
    """Rows of two writers alternate, one of them three minutes ahead: the marks stay small."""
    log_predictions(connection, *(each for i in range(400) for each in (9 + i / 1000, 12 + i / 1000)))
    reader.run(10)
    assert len(reader.marks.read) == 1
    assert reader.marks.open == ()
    assert reader.fresh() == list(range(1, 801, 2))
    reader.run(20)
    assert reader.fresh() == list(range(2, 801, 2))


def test_rows_of_inconclusive_runs_are_carried(connection: Connection, reader: Reader) -> None:
    """They are fresh until a run judges them, with the time of the oldest, and they are not late."""
    for run in range(3):
        log_predictions(connection, 10 * run + 5)
        selection = reader.run(10 * run + 10, is_conclusive=run == 2)
        assert reader.fresh() == list(range(1, run + 2))
        assert (selection.oldest_at, selection.oldest_unjudged_at) == (at(5), at(5))
        assert (selection.late_count, selection.expired_count) == (0, 0)
    assert reader.run(40).row_count == 0


def test_carried_rows_of_a_long_night_are_all_kept(connection: Connection, reader: Reader) -> None:
    """However long no run concludes, exactly the rows of the last two hours are carried."""
    for run in range(40):
        log_predictions(connection, 10 * run + 5)
        selection = reader.run(10 * run + 10, is_conclusive=False)
        assert selection.row_count == min(run + 1, 12)
        assert selection.expired_count == (run >= 12)


def test_rows_that_grow_too_old_are_counted_once(connection: Connection, reader: Reader) -> None:
    """A row that was carried for as long as the policy allows is counted as never judged, by one run."""
    log_predictions(connection, 5, 6, 9)
    reader.run(10, is_conclusive=False)
    counts = [reader.run(minutes, is_conclusive=False).expired_count for minutes in (120, 125.5, 127, 130, 140)]
    assert counts == [0, 1, 1, 1, 0]


def test_rows_that_come_too_late_are_counted_once(connection: Connection, reader: Reader) -> None:
    """A row that is too old when it comes is counted as never judged, whatever the runs conclude."""
    log_predictions(connection, 295)
    reader.run(300, is_conclusive=False)
    log_predictions(connection, 30, 305, 31, 306)
    counts = [reader.run(minutes, is_conclusive=False).expired_count for minutes in (310, 320)]
    assert (counts, reader.fresh()) == ([2, 0], [1, 3, 5])


def test_a_first_run_has_missed_nothing(connection: Connection, reader: Reader) -> None:
    """Rows from before its time were nobody's to judge, and are never read."""
    log_predictions(connection, -500, -400, 5)
    selection = reader.run(10)
    assert (reader.fresh(), selection.expired_count) == ([3], 0)


def test_of_too_many_rows_the_newest_are_read(connection: Connection) -> None:
    """A monitor that was away judges the present; what it leaves out is counted as never judged, once."""
    reader = Reader(connection, most_rows=3)
    log_predictions(connection, 1)
    reader.run(10)
    log_predictions(connection, *range(11, 18))
    selection = reader.run(20)
    assert (reader.fresh(), selection.row_count, selection.expired_count) == ([6, 7, 8], 3, 4)
    assert reader.run(30).expired_count == 0


def test_synthetic_rows_are_no_evidence(connection: Connection, reader: Reader) -> None:
    """They are neither read nor missed, and yet wait: where nothing else comes, the version is not judged."""
    log_predictions(connection, 1)
    append_predictions(connection, [replace(prediction(number, at(number)), synthetic=True) for number in (2, 3)])
    log_predictions(connection, 4)
    selection = reader.run(10)
    assert reader.fresh() == [1, 4]
    assert selection.read == RowRanges(((1, 4),))
    append_predictions(connection, [replace(prediction(12, at(12)), synthetic=True)])
    selection = reader.run(20)
    assert (selection.row_count, selection.oldest_unjudged_at) == (0, at(12))
    assert reader.run(300).expired_count == 0


def test_rows_of_others_are_never_read(connection: Connection) -> None:
    """Those of another version, nor of another service, though their ids lie in between; ranges stay few."""
    for minute in range(1, 9):
        log_predictions(connection, minute, version=str(minute % 2))
    other = {**PREDICTION, "timestamp": at(9), "service_id": 2}
    connection.execute(insert(prediction_logs), [other, other])
    log_predictions(connection, 9.5)
    reader = Reader(connection)
    reader.run(10, is_conclusive=False)
    assert reader.fresh() == [1, 3, 5, 7, 11]
    assert reader.marks.read == ((1, 11),)
    reader.run(20)
    assert (reader.fresh(), reader.marks.open) == ([1, 3, 5, 7, 11], ())


def test_refusals_are_selected_alike(connection: Connection) -> None:
    """Both tables have marks of their own."""
    log_refusals(connection, 1, 8, 25)
    first, second = (RunSpan(at(end) - CARRY, at(end), None, 1000) for end in (10, 30))
    selection = select_rows(connection, refusals, "1", RowMarks(), first)
    assert (selection.row_count, selection.oldest_at) == (2, at(1))
    marks = next_marks(RowMarks(), selection, first, is_conclusive=True)
    later = select_rows(connection, refusals, "1", marks, second)
    assert (later.row_count, later.oldest_at) == (1, at(25))


@pytest.fixture
def numbered_store(postgres_url: str) -> Iterator[Engine]:
    """A log with some rows, on a server: there transactions write concurrently, and on SQLite one at a time."""
    engine = database.connect(postgres_url)
    database.upgrade(engine)
    with database.writing(engine) as connection:
        log_predictions(connection, 1, 2)
    yield engine
    engine.dispose()


def test_ids_that_become_visible_out_of_order_are_read(numbered_store: Engine) -> None:
    """Of two open transactions the one with the lower id commits after a run: the next run reads its row."""
    early, late = numbered_store.connect(), numbered_store.connect()
    with early, late:
        append_predictions(early, [prediction(3, at(3))])
        append_predictions(late, [prediction(4, at(4))])
        late.commit()
        with database.reading(numbered_store) as connection:
            reader = Reader(connection)
            reader.run(10)
            assert reader.fresh() == [1, 2, 4]
            assert [(each.first, each.last, each.since) for each in reader.marks.open] == [(3, 3, at(10))]
            assert reader.marks.gaps() == RowRanges(((3, 3),))
        early.commit()
    with database.reading(numbered_store) as connection:
        reader.connection = connection
        assert reader.fresh(0) == [1, 2, 4], "a replay of the first run reads what it had read"
        assert reader.run(20).late_count == 1
        assert (reader.fresh(), reader.judged(minutes=20)) == ([3], [1, 2, 4])
        assert reader.run(30).row_count == 0


def test_ids_that_never_become_visible_are_waited_for_as_long_as_rows_are_carried(numbered_store: Engine) -> None:
    """A transaction that was rolled back leaves ids without a row; they are open for two hours, and then forgotten."""
    with numbered_store.connect() as connection:
        append_predictions(connection, [prediction(3, at(3))])
        connection.rollback()
    with database.writing(numbered_store) as connection:
        log_predictions(connection, 4)
        reader = Reader(connection)
        open_counts = []
        for minutes in (10, 20, 130, 131):
            reader.run(minutes, is_conclusive=minutes != 20)
            open_counts.append(len(reader.marks.gaps().ranges))
            assert all(each.since == at(10) for each in reader.marks.open if each.first == 3)
    assert open_counts == [1, 1, 1, 0]


TIMES = st.integers(-3, 9)
"""Tenths of an interval, from 30 minutes before the present run's end on; positive ones are after it."""


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.lists(st.tuples(TIMES, st.sampled_from(["1", "1", "2"])), max_size=6), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_each_row_is_settled_by_exactly_one_run(
    sqlite: Engine, history: list[tuple[list[tuple[int, str]], bool]]
) -> None:
    """Whenever rows come, late or early, and whatever the runs conclude, no row is judged twice and none is lost."""
    with database.writing(sqlite) as connection:
        connection.execute(prediction_logs.delete())
        reader, number = Reader(connection), 0
        settled_ids: list[int] = []
        for run, (rows, is_conclusive) in enumerate([*history, ([], True), ([], True)]):
            for minutes, version in rows:
                number += 1
                log_predictions(connection, 10 * run + minutes, version=version)
            reader.run(10 * run, is_conclusive=is_conclusive)
            assert not set(reader.fresh()) & set(settled_ids)
            assert set(reader.judged(minutes=1000)) == set(settled_ids)
            settled_ids += reader.fresh() if is_conclusive else []
        own = connection.execute(select(prediction_logs.c.id).where(prediction_logs.c.model_version == "1")).scalars()
        assert sorted(settled_ids) == sorted(own)
        assert len(connection.execute(select(prediction_logs.c.id)).all()) == number


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("length", [0, 1])
def test_a_set_of_many_ranges_is_searched(connection: Connection, length: int, by_id: bool) -> None:
    """SQLite accepts no expression that is a thousand levels deep."""
    log_predictions(connection, *range(30))
    ids = RowRanges(tuple((4 * i, 4 * i + length) for i in range(3000)))
    query = select(prediction_logs.c.id).where(within(prediction_logs, ids, by_id=by_id))
    assert sorted(connection.execute(query).scalars()) == [i for i in range(1, 31) if i % 4 <= length]


def test_the_marks_tell_carried_ids_from_gaps() -> None:
    """Open ids that a run has read belong to rows; the others had none."""
    marks = RowMarks(9, (OpenRange(1, 2, at(0)), OpenRange(5, 5, at(0)), OpenRange(7, 8, at(0))), ((1, 2), (7, 8)))
    assert (marks.carried_ids().ranges, marks.gaps().ranges) == (((1, 2), (7, 8)), ((5, 5),))
    assert marks.open_ids().ranges == ((1, 2), (5, 5), (7, 8))
    assert marks.candidates(12).ranges == ((1, 2), (5, 5), (7, 8), (10, 12))


def test_conditions_name_service_version_and_evidence(engine: Engine) -> None:
    """Rows of the connection's service; refusals are all evidence."""
    with database.writing(engine) as connection:
        connection.execute(insert(services), [{"id": 3, "name": "three"}])
    with database.reading(engine.execution_options(service="three")) as connection:
        service, version = own_rows(connection, prediction_logs, "v")
        assert service.compile().params == {"service_id_1": 3}
        assert version.compile().params == {"model_version_1": "v"}
    assert len(evidence_rows(prediction_logs)) == 1
    assert evidence_rows(refusals) == []


def test_a_first_run_waits_for_no_ids_of_long_ago(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long history only the newest ids may belong to open transactions, and those beside the rows read."""
    monkeypatch.setattr("stillsafe.store.read.row_selection.RECENT_IDS", 3)
    log_predictions(connection, *range(-20, 0), version="2")
    connection.execute(prediction_logs.delete().where(prediction_logs.c.id.in_([5, 12, 18])))
    reader = Reader(connection)
    reader.run(10)
    assert reader.marks.gaps().ranges == ((18, 18),)
