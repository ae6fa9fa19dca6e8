"""An incident read in one transaction: what its run shows, before and after, and when its run is no longer stored."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from stillsafe.dashboard.incident_page import IncidentDetail, incident_cause, incident_context, read_incident
from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.tables import current_window_metrics, system_state

from .story import Story, begin, faulty_tally, tally


def service_with_incident(folder: Path) -> tuple[Story, str]:
    """A service with an open incident, which escalated, and its id."""
    story = begin(folder)
    story.runs(12, tally())
    incident = story.runs(2, faulty_tally(unseen={"ZZ": 200})).incident
    assert incident is not None
    story.runs(2, faulty_tally(unseen={"ZZ": 200}))
    return story, incident.incident_id


def detail_of(story: Story, incident_id: str) -> IncidentDetail:
    detail = read_incident(story.engine, story.settings, story.now + timedelta(minutes=3), incident_id)
    assert detail is not None
    return detail


def test_everything_of_an_incident_is_read(tmp_path: Path) -> None:
    """Its run, some runs before it, its cause, and the distributions of its features."""
    story, incident_id = service_with_incident(tmp_path)
    detail = detail_of(story, incident_id)
    assert detail.run is not None
    assert detail.run.at == detail.incident.escalated_at
    assert detail.snapshot.runs[0].at < detail.incident.detected_at < detail.snapshot.runs[-1].at
    context = incident_context(detail)
    assert context["cause"].startswith("dep_delay is missing in 97.0% of 600 predictions.")
    assert [each.name for each in context["distributions"]] == ["dep_delay", "carrier", "wind_speed"]
    assert next(chart.title for chart in context["signal_charts"]) == "Missing values: dep_delay"
    assert {event.title for event in detail.events} == {"Opened", "Escalated to CRITICAL"}


def test_actions_of_operators_are_among_the_events(tmp_path: Path) -> None:
    """Those of the time of the incident."""
    story, incident_id = service_with_incident(tmp_path)
    story.hold("ada", "drill")
    assert "Hold by ada" in {event.title for event in detail_of(story, incident_id).events}


def test_an_incident_whose_runs_are_gone_is_shown(tmp_path: Path) -> None:
    """By its own sentences: there is nothing to draw, and its cause has no numbers in brackets."""
    story, incident_id = service_with_incident(tmp_path)
    with database.writing(story.engine) as connection:
        connection.execute(delete(current_window_metrics))
    detail = detail_of(story, incident_id)
    context = incident_context(detail)
    assert (context["distributions"], context["timelines"], context["signal_charts"]) == ([], [], [])
    assert incident_cause(detail) == "dep_delay is missing in 97.0% of 600 predictions."


def test_damaged_documents_are_no_error(tmp_path: Path) -> None:
    """A run whose documents are not readable has no figures, and the incident is read."""
    story, incident_id = service_with_incident(tmp_path)
    with database.writing(story.engine) as connection:
        connection.execute(update(current_window_metrics).values(window="text", readings=[3]))
    assert incident_context(detail_of(story, incident_id))["distributions"] == []


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    """Another id is no incident; a damaged state is an error of the store."""
    story, incident_id = service_with_incident(tmp_path)
    assert read_incident(story.engine, story.settings, story.now, "inc-other") is None
    with database.writing(story.engine) as connection:
        connection.execute(update(system_state).values(current_state="FINE"))
    with pytest.raises(StoreError):
        read_incident(story.engine, story.settings, story.now, incident_id)
