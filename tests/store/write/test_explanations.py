"""Explanations: one for each step and source, and every failure."""

import pytest
from sqlalchemy import Connection, Engine

from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.read.incidents import (
    ExplanationRecord,
    explained_steps,
    explanation_failure_count,
    incident_explanations,
)
from stillsafe.store.tables import explanation_failures, llm_explanations
from stillsafe.store.write.explanations import append_explanation, append_explanation_failure
from tests.store.conftest import at

UNVERIFIED = [{"field": "summary", "number": "12", "at": 3}]
HOSTILE = "<script>alert('1')</script>'; DROP TABLE incidents; --"


def explain(
    connection: Connection, status: str, minutes: float = 0, incident_id: str = "inc-1", source: str = "offline"
) -> None:
    append_explanation(
        connection,
        ExplanationRecord(
            incident_id=incident_id,
            incident_status=status,
            source=source,
            generated_at=at(minutes),
            summary=HOSTILE,
            likely_causes="It broke.",
            recommendations="Look at the feed.",
            llm_model="some-model",
            seconds=1.5,
            unverified=UNVERIFIED,
        ),
    )


def test_explanations_are_read_back_oldest_first(connection: Connection) -> None:
    """Unchanged, whatever their text, and only those of the incident."""
    explain(connection, "opened", 1)
    explain(connection, "opened", 2, "inc-2")
    explain(connection, "resolved", 3)
    records = incident_explanations(connection, "inc-1")
    assert [record.incident_status for record in records] == ["opened", "resolved"]
    assert records[0] == ExplanationRecord(
        *("inc-1", at(1), HOSTILE, "Look at the feed.", "some-model", "opened"),
        *("offline", "It broke.", None, 1.5, UNVERIFIED),
    )
    assert incident_explanations(connection, "inc-3") == []


def test_a_status_is_explained_once(engine: Engine) -> None:
    """A second explanation of the same step by the same source is refused, and the first one stays."""
    with database.writing(engine) as connection:
        explain(connection, "opened")
    with pytest.raises(StoreError, match=r"(?i)unique"), database.writing(engine) as connection:
        explain(connection, "opened", 5)
    with database.reading(engine) as connection:
        assert len(incident_explanations(connection, "inc-1")) == 1


def test_the_offline_explanation_comes_first(connection: Connection) -> None:
    """Of each step, whenever the language model answered."""
    for minutes, (status, source) in enumerate(
        [
            ("opened", "offline"),
            ("escalated", "offline"),
            ("opened", "llm"),
            ("resolved", "llm"),
            ("resolved", "offline"),
        ]
    ):
        explain(connection, status, minutes, source=source)
    order = [(record.incident_status, record.source) for record in incident_explanations(connection, "inc-1")]
    assert order == [
        *(("opened", "offline"), ("opened", "llm"), ("escalated", "offline")),
        *(("resolved", "offline"), ("resolved", "llm")),
    ]
    assert explained_steps(connection, "llm") == {("inc-1", "opened"), ("inc-1", "resolved")}


def test_failures_are_counted(connection: Connection) -> None:
    """Each failed attempt is a row, and one step may have many."""
    for minutes in range(3):
        append_explanation_failure(
            connection,
            incident_id="inc-1",
            incident_status="opened",
            at=at(minutes),
            llm_model="some-model",
            failure="slow",
            seconds=30.0,
        )
    assert explanation_failure_count(connection) == 3


def test_nothing_is_stored_in_dropped_tables(engine: Engine) -> None:
    """An owner may drop the tables, so an explanation or a failure is lost there and raises no error."""
    with database.writing(engine) as connection:
        for table in (llm_explanations, explanation_failures):
            table.drop(connection)
        explain(connection, "opened")
        append_explanation_failure(
            connection,
            incident_id="inc-1",
            incident_status="opened",
            at=at(0),
            llm_model="some-model",
            failure="slow",
            seconds=1.0,
        )
        assert incident_explanations(connection, "inc-1") == []
        assert explanation_failure_count(connection) == 0
