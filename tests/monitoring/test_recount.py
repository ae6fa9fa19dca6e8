"""Windows counted again: from the rows that a run names, with the schema that it was judged by."""

from datetime import timedelta

from sqlalchemy import text, update

from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.recount import Recount, rows_of_run
from stillsafe.store import database
from stillsafe.store.read.runs import all_runs
from stillsafe.store.tables import current_window_metrics
from tests.monitoring.conftest import Service


def recount(service: Service, model_version: str = "1") -> tuple[Recount, list[str]]:
    """All windows counted again, and the paths of their differences."""
    with database.reading(service.engine) as connection:
        result = Recount(connection, LogFormat.of(service.settings), model_version, service.score, None)
        differences = [result.difference(run) for run in all_runs(connection)]
    return result, [each.what for each in differences if each is not None]


def test_a_run_names_the_rows_that_it_read(service: Service) -> None:
    """Rows that were carried, came late or were judged before are counted once each, as the run counted them."""
    service.step()
    service.step(10)
    service.send(40, start=service.now - timedelta(hours=1))
    service.step(300)
    with database.reading(service.engine) as connection:
        (*_, run) = all_runs(connection)
        rows = rows_of_run(connection, run)
    assert rows.end == run.window_end
    assert rows.window_start == run.window_start
    assert rows.predictions.late_count == run.late_count == 40
    result, differences = recount(service)
    assert (result.windows, differences) == (3, [])


def test_a_deleted_row_is_a_difference(service: Service) -> None:
    """No prune is on record, so the row was deleted by hand."""
    service.step()
    with database.writing(service.engine) as connection:
        connection.execute(text("DELETE FROM prediction_logs WHERE id = (SELECT max(id) FROM prediction_logs)"))
    _, differences = recount(service)
    assert differences
    assert all(what.startswith("window.") for what in differences)


def test_a_run_without_a_schema_is_counted_with_the_present_one(service: Service) -> None:
    """A release before this one stored none."""
    service.step()
    with database.writing(service.engine) as connection:
        connection.execute(update(current_window_metrics).values(schema_digest=None))
    result, differences = recount(service)
    assert (result.windows, differences) == (1, [])


def test_shadow_scores_of_another_version_are_not_counted_again(service: Service) -> None:
    """The model at hand is not the one that scored the rows, which the result says."""
    service.step()
    with database.writing(service.engine) as connection:
        connection.execute(update(current_window_metrics).values(shadow=True))
    result, differences = recount(service, model_version="2")
    assert (result.windows, differences) == (0, [])
    assert "model version 1" in result.not_recounted[1]
