"""Queries for incidents and explanations: by time, by id, and what is still to be explained."""

from sqlalchemy import Connection, insert

from stillsafe.store.read.incidents import (
    MOST_USELESS_ANSWERS,
    IncidentStep,
    explained_steps,
    explanation_failure_count,
    has_explanations,
    has_table,
    incident_by_id,
    incident_explanations,
    recent_incidents,
    unexplained_steps,
)
from stillsafe.store.tables import explanation_failures, incidents, llm_explanations
from stillsafe.store.write.explanations import append_explanation_failure
from tests.store.conftest import at
from tests.store.read.rows import EXPLANATION, insert_incident, insert_run


def test_incidents_are_listed_newest_first(connection: Connection) -> None:
    """By detection, then by id; all of them, or the open ones."""
    insert_incident(connection, "d", 5)
    insert_incident(connection, "c", 1, resolved=True)
    insert_incident(connection, "a", 9, resolved=True)
    insert_incident(connection, "b", 5)
    ids = [incident.incident_id for incident in recent_incidents(connection, 10)]
    assert ids == ["a", "d", "b", "c"]
    assert [incident.incident_id for incident in recent_incidents(connection, 2)] == ids[:2]
    open_incidents = recent_incidents(connection, 1, unresolved_only=True)
    assert [incident.incident_id for incident in open_incidents] == ["d"]


def test_an_incident_is_read_by_its_id(connection: Connection) -> None:
    """An unknown id is None."""
    insert_incident(connection, "a", 5)
    incident = incident_by_id(connection, "a")
    assert incident is not None
    assert (incident.detected_at, incident.resolution) == (at(5), None)
    assert incident_by_id(connection, "b") is None


def test_an_explanation_with_only_the_missions_columns_is_read(connection: Connection) -> None:
    """An older version, another program or a person may have written it: the other columns are None."""
    connection.execute(insert(llm_explanations).values(EXPLANATION))
    (explanation,) = incident_explanations(connection, "a")
    assert (explanation.summary, explanation.incident_status) == ("so", None)


def test_the_steps_of_an_incident_are_in_order(connection: Connection) -> None:
    """A step that has not happened is left out."""
    insert_incident(connection, "a", 5)
    connection.execute(incidents.update().values(resolved_at=at(25)))
    incident = incident_by_id(connection, "a")
    assert incident is not None
    assert incident.steps == (IncidentStep("a", "opened", at(5)), IncidentStep("a", "resolved", at(25)))


def test_a_step_is_unexplained_while_its_run_is_stored(connection: Connection) -> None:
    """A step is listed until a model has explained it or has failed too often; newest first."""
    insert_incident(connection, "a", 5)
    connection.execute(incidents.update().values(escalated_at=at(15), resolved_at=at(25)))
    insert_run(connection, 5)
    insert_run(connection, 15)
    assert [step.status for step in unexplained_steps(connection)] == ["escalated", "opened"]
    explanation = {**EXPLANATION, "incident_status": "opened", "source": "llm"}
    connection.execute(insert(llm_explanations).values(explanation))
    assert [step.status for step in unexplained_steps(connection)] == ["escalated"]
    for number in range(MOST_USELESS_ANSWERS):
        assert unexplained_steps(connection) != []
        append_explanation_failure(
            connection,
            incident_id="a",
            incident_status="escalated",
            at=at(30 + number),
            llm_model="m",
            failure="unusable",
            seconds=1.0,
        )
    assert unexplained_steps(connection) == []


def test_dropped_tables_of_explanations_count_as_empty(connection: Connection) -> None:
    """The tables are optional: without them incidents are read, and no step waits for a language model."""
    insert_incident(connection, "a", 5)
    insert_run(connection, 5)
    assert unexplained_steps(connection) != []
    assert has_explanations(connection)
    explanation_failures.drop(connection)
    assert explanation_failure_count(connection) == 0
    assert unexplained_steps(connection) != []
    llm_explanations.drop(connection)
    assert not has_explanations(connection)
    assert [has_table(connection, table) for table in (llm_explanations, explanation_failures, incidents)] == [
        *(False, False, True)
    ]
    assert (incident_explanations(connection, "a"), explained_steps(connection, "llm")) == ([], set())
    assert unexplained_steps(connection) == []
    assert [incident.incident_id for incident in recent_incidents(connection, 5)] == ["a"]
