"""Retention deletes old rows and none that a run needs; a killed prune neither loses nor doubles a row."""

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from pyarrow import parquet
from sqlalchemy import text

from stillsafe.errors import RefusedError
from stillsafe.monitoring import archive, retention
from stillsafe.monitoring.archive import Archive
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import ReplayResult, replay
from stillsafe.monitoring.retention import PruneResult
from stillsafe.store import database
from stillsafe.store.read.incidents import ExplanationRecord
from stillsafe.store.read.labels import label_history
from stillsafe.store.read.request_id import rows_with_ids
from stillsafe.store.read.requests import RequestTable, last_request_at, request_ids
from stillsafe.store.write.explanations import append_explanation
from stillsafe.store.write.labels import append_labels
from stillsafe.store.write.retention import delete_requests, record_prune, vacuum_database
from tests.monitoring.conftest import START, Service

DAY = timedelta(days=1)
PRUNE_SCRIPT = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from stillsafe.monitoring import retention
from stillsafe.store import database
retention.BATCH_ROWS = 50
engine = database.connect(sys.argv[1])
print("ready", flush=True)
now = datetime.fromisoformat(sys.argv[2])
window = timedelta(minutes=15)
retention.prune(engine, now=now, older_than=timedelta(days=1), window=window, folder=Path(sys.argv[3]))
"""


def prune(
    service: Service, older_than: timedelta = DAY, folder: Path | None = None, *, dry_run: bool = False
) -> PruneResult:
    window = timedelta(seconds=service.settings.policy.window_seconds)
    now = service.now
    return retention.prune(
        service.engine, now=now, older_than=older_than, window=window, folder=folder, dry_run=dry_run
    )


def ids(service: Service, requests: RequestTable = RequestTable.PREDICTIONS) -> list[int]:
    end = datetime(9000, 1, 1, tzinfo=START.tzinfo)
    with database.reading(service.engine) as connection:
        by_version = [request_ids(connection, requests, START - 10 * DAY, end, version) for version in ("1", "2/b")]
    return sorted(row for rows in by_version for row in rows)


def recount(service: Service, folder: Path | None = None) -> ReplayResult:
    return replay(
        service.engine,
        from_logs=True,
        log_format=LogFormat.of(service.settings),
        model_version="1",
        score=service.score,
        archive=None if folder is None else Archive(folder),
    )


@pytest.fixture
def old(bare_service: Service) -> Service:
    """Three days of two versions' rows, the last ones new, and refusals."""
    bare_service.refuse(7)
    bare_service.send(900, over=3 * DAY)
    bare_service.send(90, over=3 * DAY, version="2/b")
    bare_service.now += 3 * DAY
    return bare_service


def test_what_is_old_goes_and_the_rest_stays(old: Service) -> None:
    """Rows before the cut go, from both tables; a dry run counts the same and touches nothing."""
    all_ids = ids(old)
    dry_result = prune(old, dry_run=True)
    assert ids(old) == all_ids
    result = prune(old)
    assert replace(dry_result, dry_run=False) == result
    assert (result.prediction_count, result.refusal_count, result.held_back_by) == (660, 7, None)
    assert len(ids(old)) == 330
    assert prune(old).prediction_count == 0


def test_no_run_loses_evidence(service: Service) -> None:
    """The next run decides the same after a prune of everything possible, and silence has its last request."""
    for _ in range(3):
        service.step()
    result = prune(service, timedelta(seconds=1))
    assert result.held_back_by == "the window of the next run"
    assert result.pruned_before == service.now - timedelta(seconds=service.settings.policy.window_seconds)
    assert result.prediction_count > 0
    service.step()
    assert recount(service).difference is None
    service.now += 5 * DAY
    service.run()
    service.now += 5 * DAY
    prune(service, timedelta(seconds=1))
    with database.reading(service.engine) as connection:
        assert last_request_at(connection, service.now) is not None


def test_a_pruned_window_is_reported_and_is_no_difference(service: Service) -> None:
    """Replay reports the windows whose rows were pruned, and still recounts the others."""
    for _ in range(8):
        service.step()
    prune(service, timedelta(seconds=1))
    result = recount(service)
    assert result.difference is None
    assert result.runs == 8
    assert set(result.not_recounted) == {1, 2, 3, 4, 5, 6, 7}
    assert result.windows == 1
    assert set(result.not_recounted.values()) == {"rows of its time were pruned"}


def test_rows_missing_without_a_prune_are_a_difference(service: Service) -> None:
    """Rows that were deleted without a recorded prune are a difference in their run."""
    for _ in range(4):
        service.step()
    missing_ids = ids(service)[-3:]
    with database.writing(service.engine) as connection:
        delete_requests(connection, RequestTable.PREDICTIONS, missing_ids)
    result = recount(service)
    assert result.difference is not None
    assert result.difference.run_id == 4


def test_a_changed_row_is_no_pruned_one(service: Service) -> None:
    """A recorded prune explains missing rows, not changed ones."""
    for _ in range(4):
        service.step()
    with database.writing(service.engine) as connection:
        record_prune(connection, at=service.now, end=service.now + DAY, counts=[1, 0], archive=None)
        connection.execute(text("UPDATE prediction_logs SET confidence_score = 0.123"))
    result = recount(service)
    assert result.difference is not None
    assert result.difference.run_id == 1


def test_with_its_archive_every_window_recounts(service: Service, tmp_path: Path) -> None:
    """Archived rows are counted together with those in the log; an incomplete archive is reported."""
    for _ in range(8):
        service.step()
    service.refuse(9)
    service.step()
    prune(service, timedelta(minutes=25), tmp_path / "kept")
    prune(service, timedelta(seconds=1), tmp_path / "kept")
    result = recount(service, tmp_path / "kept")
    assert (result.difference, result.not_recounted, result.windows) == (None, {}, 9)
    shutil.copytree(tmp_path / "kept", tmp_path / "incomplete")
    for file in (tmp_path / "incomplete").glob("predictions-*"):
        table = parquet.read_table(file)
        parquet.write_table(table.slice(30), file)
    incomplete = recount(service, tmp_path / "incomplete")
    assert incomplete.difference is None
    assert set(incomplete.not_recounted.values()) == {"rows of its time were pruned, and are not in that archive"}
    assert min(incomplete.not_recounted) == 1


def test_the_archive_holds_what_the_log_held(old: Service, tmp_path: Path) -> None:
    """Each row is in one file, by day and version; a later prune adds rows to a file."""
    with database.reading(old.engine) as connection:
        first_rows = rows_with_ids(connection, RequestTable.PREDICTIONS, ids(old)[:1])
    everything, refusal_ids = ids(old), ids(old, RequestTable.REFUSALS)
    folder = tmp_path / "kept" / "archive"
    prune(old, 2.5 * DAY, folder)
    prune(old, DAY, folder)
    assert sorted(ids(old) + archive.archived_ids(folder, RequestTable.PREDICTIONS)) == everything
    assert archive.archived_ids(folder, RequestTable.REFUSALS) == refusal_ids
    assert "predictions-2026-03-01-2%2Fb.parquet" in {file.name for file in folder.iterdir()}
    first = parquet.read_table(folder / "predictions-2026-03-01-1.parquet", filters=[("id", "==", first_rows[0]["id"])])
    assert first.to_pylist() == first_rows


def test_another_database_s_archive_is_refused(old: Service, tmp_path: Path) -> None:
    """Where no prune of this database has written the archive, nothing is deleted."""
    with database.reading(old.engine) as connection:
        rows = rows_with_ids(connection, RequestTable.PREDICTIONS, ids(old)[:5])
    file = archive.archive_file(tmp_path, RequestTable.PREDICTIONS, START.date(), "1")
    archive.add_rows(file, RequestTable.PREDICTIONS, [[row | {"prediction_id": "another"} for row in rows]])
    with pytest.raises(RefusedError, match="rows of another service"):
        prune(old, DAY, tmp_path)
    assert len(ids(old)) == 990


def test_vacuum_gives_the_space_back(old: Service) -> None:
    """It works on both kinds of database, and keeps the rows."""
    prune(old)
    vacuum_database(old.engine)
    assert len(ids(old)) == 330


def test_two_at_once_are_refused(old: Service) -> None:
    """The second prune is refused and deletes nothing."""
    with database.try_lock(old.engine, "prune"), pytest.raises(RefusedError, match="under way"):
        prune(old)


def test_killed_anywhere_each_row_is_kept_once(old: Service, tmp_path: Path) -> None:
    """After SIGKILL at random points each row is in the log or the archive; after the next prune in exactly one."""
    everything, random = ids(old), Random(5)
    url = old.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", PRUNE_SCRIPT, url, old.now.isoformat(), str(tmp_path)]
    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(random.uniform(0.05, 0.45))
            process.kill()
        archived_rows = archive.archived_ids(tmp_path, RequestTable.PREDICTIONS)
        assert len(set(archived_rows)) == len(archived_rows)
        assert set(ids(old)) | set(archived_rows) == set(everything)
    prune(old, DAY, tmp_path)
    assert sorted(ids(old) + archive.archived_ids(tmp_path, RequestTable.PREDICTIONS)) == everything


def test_each_table_has_an_age_of_its_own(old: Service) -> None:
    """A table without one stays; labels and explanations go by their arrival."""
    record = ExplanationRecord("i1", START, "Text.", "", "m", "opened", "llm", "")
    with database.writing(old.engine) as connection:
        append_labels(connection, [("p900", "1")], START)
        append_labels(connection, [("p900", "0")], old.now)
        append_explanation(connection, record)
    window = timedelta(seconds=old.settings.policy.window_seconds)
    result = retention.prune(old.engine, now=old.now, older_than={RequestTable.REFUSALS: DAY}, window=window)
    assert (result.prediction_count, result.refusal_count, len(ids(old))) == (0, 7, 990)
    for dry_run in (True, False):
        counts = retention.prune_texts(old.engine, now=old.now, labels=DAY, explanations=DAY, dry_run=dry_run)
        assert counts == (1, 1)
    assert retention.prune_texts(old.engine, now=old.now, labels=DAY, explanations=None) == (0, 0)
    with database.reading(old.engine) as connection:
        assert [each.label for each in label_history(connection, "p900")] == ["0"]
    assert retention.prune(old.engine, now=old.now, older_than={}, window=window).prediction_count == 0
