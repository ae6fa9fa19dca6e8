"""Labels and explanations that are older than a time."""

import pytest
from sqlalchemy import Connection

from stillsafe.store.read.incidents import ExplanationRecord
from stillsafe.store.read.retention import AgedTable, aged_row_count, aged_row_ids
from stillsafe.store.write.explanations import append_explanation, append_explanation_failure
from stillsafe.store.write.labels import append_labels
from stillsafe.store.write.retention import delete_aged_rows
from tests.store.conftest import at


@pytest.mark.parametrize("table", AgedTable)
def test_rows_before_a_time_are_counted_and_deleted(connection: Connection, table: AgedTable) -> None:
    """The oldest first, in batches; the others stay."""
    for minute in (1, 2, 3, 9):
        record = ExplanationRecord("i1", at(minute), "Text.", "", "m", "opened", f"s{minute}", "")
        append_explanation(connection, record)
        append_labels(connection, [("p1", str(minute))], at(minute))
        append_explanation_failure(
            connection, incident_id="i1", incident_status="opened", at=at(minute), llm_model="m", failure="x", seconds=1
        )
    assert aged_row_count(connection, table, at(5)) == 3
    assert aged_row_ids(connection, table, at(5), 2) == [1, 2]
    assert delete_aged_rows(connection, table, at(5), 2) == 2
    assert delete_aged_rows(connection, table, at(5), 2) == 1
    assert delete_aged_rows(connection, table, at(5), 2) == 0
    assert aged_row_count(connection, table, at(99)) == 1
