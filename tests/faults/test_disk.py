"""While SQLite cannot be written, requests get a clear 503; afterwards the service recovers by itself."""

import os
import resource
import sqlite3
from contextlib import closing

import pytest

from tests.faults.api import Api, Load, RequestRefused, missing_and_duplicate_counts
from tests.faults.figures import Figure

FREE_BYTES = 64 * 1024
LINE_AT_THE_END = "predictions are recorded again"


def refusal(api: Api) -> RequestRefused:
    """The error response to a prediction."""
    for _ in range(2_000):
        try:
            api.predict()
        except RequestRefused as error:
            return error
    raise AssertionError("no request was refused")


def test_a_full_disk_is_refused_and_recovers(on_sqlite: Api, figure: Figure) -> None:
    """Without disk space the response is 503 with the reason, and acknowledged rows are in the log."""
    assert on_sqlite.process is not None
    first_ids = [on_sqlite.predict()["prediction_id"] for _ in range(5)]
    largest = max(each.stat().st_size for each in on_sqlite.folder.glob("stillsafe.db*"))
    limits = resource.prlimit(on_sqlite.process.pid, resource.RLIMIT_FSIZE)
    with Load(on_sqlite, 8) as load:
        load.wait_for_answers(10)
        resource.prlimit(on_sqlite.process.pid, resource.RLIMIT_FSIZE, (largest + FREE_BYTES, limits[1]))
        error = refusal(on_sqlite)
        resource.prlimit(on_sqlite.process.pid, resource.RLIMIT_FSIZE, limits)
        load.wait_for_answers(10)
    rows = on_sqlite.prediction_log()
    missing, duplicates = missing_and_duplicate_counts(load.prediction_ids | set(first_ids), rows)
    figure("disk full: rows missing / doubled", f"{missing} / {duplicates}")
    assert (error.status, error.document["status"]) == (503, 503)
    assert "disk" in error.document["detail"]
    assert on_sqlite.get("/health/ready")["status"] == "ready"
    assert 1 <= on_sqlite.log_text().count(f'"{LINE_AT_THE_END}"') <= 2
    assert {each[0] for each in load.failures if isinstance(each, tuple)} <= {503}
    assert (missing, duplicates) == (0, 0)


def test_a_locked_database_is_refused_and_recovers(on_sqlite: Api) -> None:
    """While another process holds the write lock beyond the timeout, answers and readiness are 503, and logged once."""
    holder = sqlite3.connect(on_sqlite.folder / "stillsafe.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    error = refusal(on_sqlite)
    with pytest.raises(RequestRefused) as health_error:
        on_sqlite.get("/health/ready")
    assert health_error.value.status == 503
    holder.execute("ROLLBACK")
    holder.close()
    assert (error.status, "locked" in error.document["detail"]) == (503, True)
    assert on_sqlite.get("/health/ready")["status"] == "ready"
    assert on_sqlite.predict()["decided_by"] == "model"
    lines = [on_sqlite.log_text().count(f'"{name}"') for name in ("predictions cannot be recorded", LINE_AT_THE_END)]
    assert lines == [1, 1]


def test_a_damaged_file_is_reported_everywhere(on_sqlite: Api) -> None:
    """If the file is not a database, every command exits with 1, names the database and prints no traceback."""
    on_sqlite.predict()
    on_sqlite.kill()
    file = on_sqlite.folder / "stillsafe.db"
    content = bytearray(file.read_bytes())
    content[: len(content) // 2] = os.urandom(len(content) // 2)
    for each in on_sqlite.folder.glob("stillsafe.db-*"):
        each.unlink()
    file.write_bytes(content)
    for words in (("monitor",), ("status",), ("serve",), ("replay",)):
        process = on_sqlite.command(*words)
        assert process.returncode == 1, words
        assert "database" in process.stderr + process.stdout
        assert "Traceback" not in process.stderr


def test_another_file_under_a_running_service_is_refused(on_sqlite: Api) -> None:
    """After the database is overwritten and its write-ahead log deleted, the service neither crashes nor answers."""
    first_id = on_sqlite.predict()["prediction_id"]
    file = on_sqlite.folder / "stillsafe.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = file.read_bytes()
        for each in on_sqlite.folder.glob("stillsafe.db-*"):
            each.unlink()
        file.write_bytes(os.urandom(len(content)))
    assert refusal(on_sqlite).status == 503
    assert on_sqlite.get("/health/live")["status"] == "live"
    with pytest.raises(RequestRefused) as health_error:
        on_sqlite.get("/health/ready")
    assert health_error.value.status == 503
    for each in on_sqlite.folder.glob("stillsafe.db-*"):
        each.unlink()
    file.write_bytes(content)
    ids = [first_id, on_sqlite.predict()["prediction_id"]]
    assert [row.prediction_id for row in on_sqlite.prediction_log()] == ids
