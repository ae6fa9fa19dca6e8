"""Explanations: appended, one for each status of an incident, and read by nobody who decides."""

import pytest
from sqlalchemy import Connection, Engine

from stillsafe.errors import StoreError
from stillsafe.store import database, explanation_log, reader
from stillsafe.store.reader import ExplanationRecord
from tests.store.conftest import at

HOSTILE = "<script>alert('1')</script>'; DROP TABLE incidents; --"


def explain(connection: Connection, status: str, minutes: float = 0, incident_id: str = "inc-1") -> None:
    explanation_log.append(
        connection,
        incident_id=incident_id,
        incident_status=status,
        generated_at=at(minutes),
        summary=HOSTILE,
        recommendations="Look at the feed.",
        llm_model="some-model",
    )


def test_explanations_are_read_back_oldest_first(connection: Connection) -> None:
    """As they were written, whatever the text holds, and only the incident's own."""
    explain(connection, "opened", 1)
    explain(connection, "opened", 2, "inc-2")
    explain(connection, "resolved", 3)
    found = reader.explanations(connection, "inc-1")
    assert [record.incident_status for record in found] == ["opened", "resolved"]
    assert found[0] == ExplanationRecord("inc-1", at(1), HOSTILE, "Look at the feed.", "some-model", "opened")
    assert reader.explanations(connection, "inc-3") == []


def test_a_status_is_explained_once(engine: Engine) -> None:
    """A second explanation of the same event is refused, and harms nothing else."""
    with database.writing(engine) as connection:
        explain(connection, "opened")
    with pytest.raises(StoreError, match=r"(?i)unique"), database.writing(engine) as connection:
        explain(connection, "opened", 5)
    with database.reading(engine) as connection:
        assert len(reader.explanations(connection, "inc-1")) == 1
