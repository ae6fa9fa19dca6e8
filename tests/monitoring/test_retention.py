"""Retention deletes what is old and nothing that a run needs, and a killed one neither loses nor doubles a row."""

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
from stillsafe.monitoring.replay import Replayed, replay
from stillsafe.monitoring.retention import Pruned
from stillsafe.store import database
from stillsafe.store.read.requests import RequestTable, last_request_at, request_ids, request_rows
from stillsafe.store.write.retention import delete_requests, record_prune, vacuum_database
from tests.monitoring.conftest import START, Service

DAY = timedelta(days=1)
OFTEN_KILLED = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from stillsafe.monitoring import prune
from stillsafe.store import database
prune.BATCH_ROWS = 50
engine = database.connect(sys.argv[1])
print("ready", flush=True)
now = datetime.fromisoformat(sys.argv[2])
prune.prune(engine, now=now, older_than=timedelta(days=1), window=timedelta(minutes=15), folder=Path(sys.argv[3]))
"""


def pruned(
    service: Service, older_than: timedelta = DAY, folder: Path | None = None, *, dry_run: bool = False
) -> Pruned:
    window = timedelta(seconds=service.settings.policy.window_seconds)
    now = service.now
    return retention.prune(
        service.engine, now=now, older_than=older_than, window=window, folder=folder, dry_run=dry_run
    )


def ids(service: Service, requests: RequestTable = RequestTable.PREDICTIONS) -> list[int]:
    end = datetime(9000, 1, 1, tzinfo=START.tzinfo)
    with database.reading(service.engine) as connection:
        found = [request_ids(connection, requests, START - 10 * DAY, end, v) for v in ("1", "2/b")]
    return sorted(row for version in found for row in version)


def recounted(service: Service, folder: Path | None = None) -> Replayed:
    schema = service.settings.schema_of_features
    archived = None if folder is None else Archive(folder)
    return replay(
        service.engine, from_logs=True, schema=schema, model_version="1", score=service.score, archived=archived
    )


@pytest.fixture
def old(unwatched: Service) -> Service:
    """Three days of two versions' rows, the last ones new, and refusals."""
    unwatched.refuse(7)
    unwatched.send(900, over=3 * DAY)
    unwatched.send(90, over=3 * DAY, version="2/b")
    unwatched.now += 3 * DAY
    return unwatched


def test_what_is_old_goes_and_the_rest_stays(old: Service) -> None:
    """Rows before the cut go, from both tables; a dry run counts the same and touches nothing."""
    before = ids(old)
    told = pruned(old, dry_run=True)
    assert ids(old) == before
    done = pruned(old)
    assert replace(told, dry_run=False) == done
    assert (done.prediction_count, done.refusal_count, done.held_back_by) == (660, 7, None)
    assert len(ids(old)) == 330
    assert pruned(old).prediction_count == 0


def test_no_run_loses_evidence(service: Service) -> None:
    """The next run judges the same after everything that may go is gone, and silence has its last request."""
    for _ in range(3):
        service.step()
    done = pruned(service, timedelta(seconds=1))
    assert done.held_back_by == "the window of the next run"
    assert done.before == service.now - timedelta(seconds=service.settings.policy.window_seconds)
    assert done.prediction_count > 0
    service.step()
    found = recounted(service)
    assert found.difference is None
    service.now += 5 * DAY
    service.run()
    service.now += 5 * DAY
    pruned(service, timedelta(seconds=1))
    with database.reading(service.engine) as connection:
        assert last_request_at(connection, service.now) is not None


def test_a_pruned_window_is_named_and_is_no_difference(service: Service) -> None:
    """Replay says which windows lack their rows; what was tampered with in the others it still finds."""
    for _ in range(8):
        service.step()
    pruned(service, timedelta(seconds=1))
    found = recounted(service)
    assert found.difference is None
    assert found.runs == 8
    assert set(found.not_recounted) == {1, 2, 3, 4, 5, 6, 7}
    assert found.windows == 1
    assert set(found.not_recounted.values()) == {"rows of its time were pruned"}


def test_what_nobody_pruned_is_a_difference(service: Service) -> None:
    """Rows that are gone without a recorded prune are found, and so is a changed row of a time that was pruned."""
    for _ in range(4):
        service.step()
    gone = ids(service)[-3:]
    with database.writing(service.engine) as connection:
        delete_requests(connection, RequestTable.PREDICTIONS, gone)
    found = recounted(service)
    assert found.difference is not None
    assert found.difference.run_id == 4


def test_a_changed_row_is_no_pruned_one(service: Service) -> None:
    """A recorded prune excuses rows that are missing, not rows that are other than they were."""
    for _ in range(4):
        service.step()
    with database.writing(service.engine) as connection:
        announced = service.now + DAY
        record_prune(connection, at=service.now, before=announced, counts=[1, 0], archive=None)
        connection.execute(text("UPDATE prediction_logs SET confidence_score = 0.123"))
    found = recounted(service)
    assert found.difference is not None
    assert found.difference.run_id == 1


def test_with_its_archive_every_window_recounts(service: Service, tmp_path: Path) -> None:
    """What was pruned is counted from where it was put, together with what is left; a poorer archive is named."""
    for _ in range(8):
        service.step()
    service.refuse(9)
    service.step()
    pruned(service, timedelta(minutes=25), tmp_path / "kept")
    pruned(service, timedelta(seconds=1), tmp_path / "kept")
    found = recounted(service, tmp_path / "kept")
    assert (found.difference, found.not_recounted, found.windows) == (None, {}, 9)
    shutil.copytree(tmp_path / "kept", tmp_path / "poorer")
    for file in (tmp_path / "poorer").glob("predictions-*"):
        table = parquet.read_table(file)
        parquet.write_table(table.slice(30), file)
    poorer = recounted(service, tmp_path / "poorer")
    assert poorer.difference is None
    assert set(poorer.not_recounted.values()) == {"rows of its time were pruned, and are not in that archive"}
    assert min(poorer.not_recounted) == 1


def test_a_folder_without_an_archive_is_refused(tmp_path: Path) -> None:
    """An empty folder, or none, is a mistake of whoever named it."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RefusedError, match="holds no archive"):
            Archive(folder)


def test_the_archive_holds_what_the_log_held(old: Service, tmp_path: Path) -> None:
    """Each row is in one file, by day and version, whole: and a file that is there already is added to."""
    with database.reading(old.engine) as connection:
        kept = request_rows(connection, RequestTable.PREDICTIONS, ids(old)[:1])
    everything, refused = ids(old), ids(old, RequestTable.REFUSALS)
    folder = tmp_path / "kept" / "archive"
    pruned(old, 2.5 * DAY, folder)
    pruned(old, DAY, folder)
    assert sorted(ids(old) + archive.ids_in(folder, RequestTable.PREDICTIONS)) == everything
    assert archive.ids_in(folder, RequestTable.REFUSALS) == refused
    assert "predictions-2026-03-01-2%2Fb.parquet" in {file.name for file in folder.iterdir()}
    first = parquet.read_table(folder / "predictions-2026-03-01-1.parquet", filters=[("id", "==", kept[0]["id"])])
    assert first.to_pylist() == kept


def test_another_database_s_archive_is_refused(old: Service, tmp_path: Path) -> None:
    """Where the same id is another row nothing is deleted, rather than taken for archived."""
    with database.reading(old.engine) as connection:
        rows = request_rows(connection, RequestTable.PREDICTIONS, ids(old)[:5])
    file = archive.file_of(tmp_path, RequestTable.PREDICTIONS, START.date(), "1")
    archive.add(file, RequestTable.PREDICTIONS, [[row | {"prediction_id": "another"} for row in rows]])
    with pytest.raises(RefusedError, match="other rows under the same ids"):
        pruned(old, DAY, tmp_path)
    assert len(ids(old)) == 990


def test_vacuum_gives_the_space_back(old: Service) -> None:
    """It works on both kinds of database, and a SQLite file gets smaller."""
    pruned(old)
    vacuum_database(old.engine)
    assert len(ids(old)) == 330


def test_two_at_once_do_not_meet(old: Service) -> None:
    """The second says so and does nothing."""
    with database.alone(old.engine, "prune"), pytest.raises(RefusedError, match="under way"):
        pruned(old)


def test_killed_anywhere_each_row_is_kept_once(old: Service, tmp_path: Path) -> None:
    """After SIGKILL at random points each row is in the log or the archive; after the next whole run in exactly one."""
    everything, random = ids(old), Random(5)
    url = old.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", OFTEN_KILLED, url, old.now.isoformat(), str(tmp_path)]
    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(random.uniform(0.05, 0.45))
            process.kill()
        archived = archive.ids_in(tmp_path, RequestTable.PREDICTIONS)
        assert len(set(archived)) == len(archived)
        assert set(ids(old)) | set(archived) == set(everything)
    pruned(old, DAY, tmp_path)
    assert sorted(ids(old) + archive.ids_in(tmp_path, RequestTable.PREDICTIONS)) == everything
