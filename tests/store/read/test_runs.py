"""Queries for runs: by time and by order, whoever wrote them."""

from dataclasses import fields

from sqlalchemy import Connection

from stillsafe.store.read.runs import (
    RunFigures,
    all_runs,
    deviating_run_count,
    last_run,
    recent_figures,
    recent_runs,
    run_at,
    run_marks,
    runs_by_ids,
)
from tests.store.conftest import at
from tests.store.read.rows import insert_run


def test_runs_are_read_in_both_directions(connection: Connection) -> None:
    """The newest first for people, the oldest first for a replay, and each by the end of its window."""
    assert last_run(connection) is None
    for minutes in (10, 20, 30):
        insert_run(connection, minutes)
    newest = last_run(connection)
    assert newest is not None
    assert newest.window_end == at(30)
    assert [run.window_end for run in recent_runs(connection, 2)] == [at(30), at(20)]
    assert [run.window_end for run in all_runs(connection)] == [at(10), at(20), at(30)]
    assert run_at(connection, at(20)) == recent_runs(connection, 2)[1]
    assert run_at(connection, at(25)) is None


def test_the_figures_of_runs_are_those_of_the_runs(connection: Connection) -> None:
    """Each field is as in the whole run, newest first, from any run on backwards."""
    for minutes in (10, 20, 30):
        insert_run(connection, minutes)
    runs = recent_runs(connection, 3)
    figures = recent_figures(connection, 3)
    assert [[getattr(run, each.name) for each in fields(RunFigures)] for run in runs] == [
        [getattr(figure, each.name) for each in fields(RunFigures)] for figure in figures
    ]
    assert recent_figures(connection, 3, before_run=runs[0].id) == figures[1:]
    assert recent_figures(connection, 1, before_run=runs[1].id) == figures[2:]


def test_the_runs_of_a_time_have_marks(connection: Connection) -> None:
    """Of one version, after the start and up to the end, with the run before it; each run is read by its id."""
    for minutes in (10, 20, 30, 40, 50):
        insert_run(connection, minutes, evidence="BAD", state_after="WARNING", model_version="1")
    insert_run(connection, 35, model_version="2")
    marks = run_marks(connection, "1", at(20), at(40))
    assert [mark.window_end for mark in marks] == [at(20), at(30), at(40)]
    assert {(mark.evidence, mark.state_after) for mark in marks} == {("BAD", "WARNING")}
    assert [mark.window_end for mark in run_marks(connection, "1", at(0), at(10))] == [at(10)]
    assert run_marks(connection, "3", at(0), at(60)) == []
    runs = runs_by_ids(connection, [marks[2].id, marks[0].id])
    assert [run.window_end for run in runs] == [at(20), at(40)]
    assert runs_by_ids(connection, []) == []


def test_deviating_runs_are_counted_by_the_end_of_their_windows(connection: Connection) -> None:
    """Of one version, after the start and up to the end of the period."""
    for minutes in (10, 20, 30):
        insert_run(connection, minutes, evidence="BAD", model_version="1")
    insert_run(connection, 25, evidence="OK", model_version="1")
    insert_run(connection, 26, evidence="BAD", model_version="2")
    assert deviating_run_count(connection, "1", at(10), at(30)) == 2
    assert deviating_run_count(connection, "2", at(0), at(60)) == 1


def test_a_run_with_only_the_missions_columns_is_read(connection: Connection) -> None:
    """An older version, another program or a person may have written it: the other columns are None."""
    insert_run(connection, 10)
    (run,) = all_runs(connection)
    assert (run.shadow, run.memory, run.incident_id) == (False, None, None)
