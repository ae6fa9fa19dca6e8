"""The snapshot: everything on the page, from one transaction, however damaged the documents are."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from stillsafe.core.state import Memory
from stillsafe.dashboard.snapshot import (
    DEFAULT_HISTORY,
    HISTORIES,
    MOST_ACTIONS,
    MOST_RUNS,
    RECENT_RUNS,
    History,
    Snapshot,
    take_snapshot,
)
from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.tables import current_window_metrics, system_state

from .story import Story, begin, faulty_tally, tally


def take(story: Story, history: History = DEFAULT_HISTORY) -> Snapshot:
    return take_snapshot(story.engine, story.settings, story.now, history)


def test_only_the_newest_runs_are_read(tmp_path: Path) -> None:
    """The cost of a page is bounded by the runs on it, not by the history; the oldest of them comes first."""
    story = begin(tmp_path)
    story.runs(80, tally())
    snapshot = take(story)
    assert len(snapshot.runs) == 72
    assert snapshot.runs[0].at < snapshot.runs[-1].at == story.now
    assert snapshot.start == story.now - timedelta(hours=12)
    assert len(snapshot.recent) == RECENT_RUNS
    assert snapshot.last_run is snapshot.recent[-1] is snapshot.last_run_with_readings
    day = take(story, HISTORIES[1])
    assert len(day.runs) <= MOST_RUNS
    assert day.timeline is not None
    assert day.timeline.run_count == 80


def test_the_runs_of_another_version_are_drawn(tmp_path: Path) -> None:
    """The history may show an earlier version, while everything else is about the served one."""
    story = begin(tmp_path)
    story.runs(2, tally())
    with database.writing(story.engine) as connection:
        connection.execute(update(current_window_metrics).values(model_version="0"))
        connection.execute(update(system_state).values(model_version="0"))
    story.memory = Memory()
    story.run(tally())
    assert [run.record.model_version for run in take(story).runs] == ["1"]
    other = take(story, replace(DEFAULT_HISTORY, version="0"))
    assert [run.record.model_version for run in other.runs] == ["0", "0"]
    assert (other.versions, other.history.version) == (("1", "0"), "0")
    assert [run.record.model_version for run in other.recent] == ["1"]
    assert take(story, replace(DEFAULT_HISTORY, version="<b>")).history.version == "1"


def test_an_empty_database_is_an_empty_snapshot(tmp_path: Path) -> None:
    """Before the first run there is no state, no run and no incident."""
    snapshot = take(begin(tmp_path, watched=False))
    assert (snapshot.state, snapshot.runs, snapshot.baseline, snapshot.incidents) == (None, (), None, ())
    assert snapshot.last_run is snapshot.last_run_with_readings is None


def test_explanations_are_ordered_by_step(tmp_path: Path) -> None:
    """Of an incident's explanations the newest step comes first."""
    story = begin(tmp_path)
    incident = story.runs(3, faulty_tally()).incident
    assert incident is not None
    story.explain(incident.incident_id, "It began.", "", "opened")
    story.explain(incident.incident_id, "It got worse.", "", "escalated")
    (view,) = take(story).incidents
    assert [explanation.summary for explanation in view.explanations] == ["It got worse.", "It began."]


def test_invalid_documents_are_left_out(tmp_path: Path) -> None:
    """A run whose documents are invalid keeps its record and its prediction count."""
    story = begin(tmp_path)
    story.runs(2, tally(600))
    with database.writing(story.engine) as connection:
        connection.execute(update(current_window_metrics).values(window={"total": {}}, readings=[{"signal": "other"}]))
    run = take(story).runs[-1]
    assert (run.readings, run.total.prediction_count, run.reading("avg_confidence")) == ((), 600, None)


def test_only_the_newest_actions_are_shown(tmp_path: Path) -> None:
    """Operators' actions come newest first, and only some of them."""
    story = begin(tmp_path)
    for number in range(MOST_ACTIONS + 2):
        story.hold(reason=f"drill {number}")
    actions = take(story).actions
    assert [action.reason for action in actions] == [f"drill {n}" for n in range(MOST_ACTIONS + 1, 1, -1)]


def test_a_database_without_tables_is_an_error(tmp_path: Path) -> None:
    """A database that cannot be read raises the store's own error."""
    story = begin(tmp_path)
    story.engine = database.connect(f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(StoreError):
        take(story)
