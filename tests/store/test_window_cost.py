"""The cost of a window does not grow with history: every query of a run uses an index, on both databases."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from stillsafe.store import database
from stillsafe.store.read.requests import (
    fresh_batches,
    fresh_refusal_sources,
    judged_batches,
    judged_refusal_sources,
    last_prediction_row,
    last_refusal_row,
    last_request_at,
    refusal_count,
    window_batches,
    window_rows,
)
from stillsafe.store.read.row_selection import RowMarks, RunSpan, select_rows
from stillsafe.store.row_ranges import RowRanges
from stillsafe.store.tables import prediction_logs, refusals
from tests.store.conftest import START, at, prediction, write

OLDER_DAYS = 200
MARKS: RowMarks
NEW_ROWS: RowRanges
QUERIES: dict[str, Callable[[Connection], Any]] = {
    "window": lambda c: list(window_batches(c, at(0), at(15), at(5), "1", 10**9)),
    "judged rows": lambda c: list(judged_batches(c, MARKS, (at(0), at(15)), "1", with_ids=False)),
    "judged refusals": lambda c: judged_refusal_sources(c, MARKS, (at(0), at(15)), "1"),
    "whole window": lambda c: window_rows(c, at(0), at(15), "1"),
    "refusals": lambda c: refusal_count(c, at(0), at(15), "1", 10**9),
    "silence": lambda c: last_request_at(c, at(15), 10**9, 10**9),
    "newest row": lambda c: (last_prediction_row(c), last_refusal_row(c)),
}


MARKS = RowMarks(48 * OLDER_DAYS + 50, settled_before=at(5))
"""The last run saw half of the window."""
ALL_SEEN = RowMarks(48 * OLDER_DAYS + 100, settled_before=at(15))
"""The last run saw every row."""
SPAN = RunSpan(at(-60), at(15), at(5), 1000)
QUERIES_BY_ID: dict[str, Callable[[Connection], Any]] = {
    "selection": lambda c: select_rows(c, prediction_logs, "1", MARKS, SPAN),
    "selection without new rows": lambda c: select_rows(c, prediction_logs, "1", ALL_SEEN, SPAN),
    "selected refusals": lambda c: select_rows(c, refusals, "1", MARKS, SPAN),
    "first selection": lambda c: select_rows(c, prediction_logs, "1", RowMarks(), SPAN),
    "fresh rows": lambda c: list(fresh_batches(c, NEW_ROWS, (at(-60), at(15)), "1", with_ids=False)),
    "fresh refusals": lambda c: fresh_refusal_sources(c, NEW_ROWS, (at(-60), at(15)), "1"),
}
NEW_ROWS = RowRanges(((MARKS.settled_to + 1, MARKS.settled_to + 50),))


@pytest.fixture
def long_log(engine: Engine) -> Engine:
    """A log with much more before the window than in it, and as many refusals."""
    older = [prediction(i, START - timedelta(minutes=30 * (i + 1))) for i in range(48 * OLDER_DAYS)]
    write(engine, *reversed(older), *(prediction(10**6 + i, at(i / 10)) for i in range(100)))
    with database.writing(engine) as connection:
        connection.exec_driver_sql(
            "INSERT INTO refusals (timestamp, model_version, violations) "
            "SELECT timestamp, model_version, '[]' FROM prediction_logs ORDER BY id"
        )
    return engine


def analyze(engine: Engine) -> None:
    """Give the database its statistics."""
    with engine.connect() as connection:
        for table in ("prediction_logs", "refusals"):
            connection.exec_driver_sql(f"ANALYZE {table}")
        connection.commit()


@pytest.fixture
def plans(long_log: Engine) -> Iterator[list[str]]:
    """The query plan of each query that is executed."""
    executed_plans: list[str] = []
    explain = "EXPLAIN QUERY PLAN " if long_log.dialect.name == "sqlite" else "EXPLAIN "

    def record_plan(connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if not statement.startswith("SELECT"):
            return
        cursor = connection.connection.cursor()
        cursor.execute(explain + statement, parameters)
        executed_plans.append("\n".join(str(row[-1]) for row in cursor.fetchall()))
        cursor.close()

    event.listen(long_log, "before_cursor_execute", record_plan)
    yield executed_plans
    event.remove(long_log, "before_cursor_execute", record_plan)


@pytest.mark.parametrize("has_statistics", [False, True])
@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_a_run_uses_an_index(long_log: Engine, plans: list[str], query: str, has_statistics: bool) -> None:
    """No query reads rows that are older than the window, with and without the database's statistics."""
    if has_statistics:
        analyze(long_log)
    with database.reading(long_log) as connection:
        QUERIES[query](connection)
    assert plans
    for plan in plans:
        assert "Seq Scan" not in plan
        if query == "newest row":
            assert "Backward" in plan or plan.startswith("SEARCH")
        else:
            assert "_timestamp" in plan
            assert "pk_" not in plan
            assert "INTEGER PRIMARY KEY" not in plan


@pytest.mark.parametrize("has_statistics", [False, True])
@pytest.mark.parametrize("query", QUERIES_BY_ID)
def test_new_rows_are_found_by_their_ids(long_log: Engine, plans: list[str], query: str, has_statistics: bool) -> None:
    """No query for rows that came since the last run reads the rows before, with and without statistics."""
    if has_statistics:
        analyze(long_log)
    with database.reading(long_log) as connection:
        QUERIES_BY_ID[query](connection)
    assert plans
    for plan in plans:
        assert "Seq Scan" not in plan
        assert "SCAN" not in plan
