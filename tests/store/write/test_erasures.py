"""The tombstone of an erasure, and the texts that it replaces."""

from sqlalchemy import Connection, func, select

from stillsafe.store.erasure_marks import MarkKind, RowTraces, Subject
from stillsafe.store.read.erasures import LogRow, all_erasures, all_explanations
from stillsafe.store.read.incidents import ExplanationRecord
from stillsafe.store.tables import erasure_marks
from stillsafe.store.write.erasures import advance_erasure, begin_erasure, mark_rows, replace_explanation
from stillsafe.store.write.explanations import append_explanation
from tests.store.conftest import START, at, connection, empty, engine

__all__ = ["connection", "empty", "engine"]
SALT = "ab" * 16


def test_an_erasure_counts_up_and_ends(connection: Connection) -> None:
    """Counts add up over interruptions; the marks hold hashes alone."""
    erasure = begin_erasure(
        connection, [Subject(MarkKind.REQUEST, "carol")], at=START, by="me", reason="why", salt=SALT
    )
    row = LogRow(4, "1", RowTraces("p4", "carol", START, {}))
    assert mark_rows(connection, erasure, SALT, [row]) == 1
    assert mark_rows(connection, erasure, SALT, []) == 0
    advance_erasure(connection, erasure, times={}, prediction_count=2, label_count=1)
    advance_erasure(connection, erasure, times={"completed_at": at(5)}, prediction_count=3)
    (record,) = all_erasures(connection)
    assert (record.prediction_count, record.label_count, record.completed_at) == (5, 1, at(5))
    assert connection.execute(select(func.count()).select_from(erasure_marks)).scalar_one() == 2
    for mark in connection.execute(select(erasure_marks)):
        assert not {"carol", "p4"} & {str(value) for value in mark}


def test_a_text_is_replaced_whole(connection: Connection) -> None:
    """Summary, causes and recommendations."""
    append_explanation(connection, ExplanationRecord("i1", START, "carol", "carol", "m", "opened", "llm", "carol"))
    ((row_id, _),) = all_explanations(connection)
    replace_explanation(connection, row_id, "Erased.")
    ((_, record),) = all_explanations(connection)
    assert (record.summary, record.recommendations, record.likely_causes) == ("Erased.", "", "")
