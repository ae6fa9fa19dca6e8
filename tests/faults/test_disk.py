"""SQLite cannot be written: a clear refusal for as long as it lasts, and then it goes on by itself."""

import os
import resource
import sqlite3
from contextlib import closing

import pytest

from tests.faults.api import Api, Load, Refused, missing_and_doubled
from tests.faults.figures import Figure

ROOM = 64 * 1024


def refusal(api: Api) -> Refused:
    """The error that a prediction is answered with."""
    for _ in range(2_000):
        try:
            api.predict()
        except Refused as refused:
            return refused
    raise AssertionError("it was never refused")


def test_a_full_disk_is_refused_and_recovers(on_sqlite: Api, figure: Figure) -> None:
    """No more may be written to any file: 503 with the reason, and what was acknowledged is there. Then it goes on."""
    assert on_sqlite.process is not None
    before = [on_sqlite.predict()["prediction_id"] for _ in range(5)]
    largest = max(each.stat().st_size for each in on_sqlite.folder.glob("stillsafe.db*"))
    limits = resource.prlimit(on_sqlite.process.pid, resource.RLIMIT_FSIZE)
    with Load(on_sqlite, 8) as load:
        load.more(10)
        resource.prlimit(on_sqlite.process.pid, resource.RLIMIT_FSIZE, (largest + ROOM, limits[1]))
        told = refusal(on_sqlite)
        resource.prlimit(on_sqlite.process.pid, resource.RLIMIT_FSIZE, limits)
        load.more(10)
    rows = on_sqlite.logged()
    missing, doubled = missing_and_doubled(load.ids | set(before), rows)
    figure("disk full: rows missing / doubled", f"{missing} / {doubled}")
    assert (told.status, told.told["status"]) == (503, 503)
    assert "disk" in told.told["detail"]
    assert {each[0] for each in load.failed if isinstance(each, tuple)} <= {503}
    assert (missing, doubled) == (0, 0)


def test_a_locked_database_is_refused_and_recovers(on_sqlite: Api) -> None:
    """Somebody else holds the write lock for longer than anyone waits: 503, and readiness still reads."""
    holder = sqlite3.connect(on_sqlite.folder / "stillsafe.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    told = refusal(on_sqlite)
    assert on_sqlite.get("/health/ready")["status"] == "ready"
    holder.execute("ROLLBACK")
    holder.close()
    assert (told.status, "locked" in told.told["detail"]) == (503, True)
    assert on_sqlite.predict()["decided_by"] == "model"


def test_a_damaged_file_is_told_everywhere(on_sqlite: Api) -> None:
    """A file that is no database any more: refusals while serving, exit codes of the commands, and no traceback."""
    on_sqlite.predict()
    on_sqlite.kill()
    file = on_sqlite.folder / "stillsafe.db"
    content = bytearray(file.read_bytes())
    content[: len(content) // 2] = os.urandom(len(content) // 2)
    for each in on_sqlite.folder.glob("stillsafe.db-*"):
        each.unlink()
    file.write_bytes(content)
    for words in (("monitor",), ("status",), ("serve",), ("replay",)):
        ran = on_sqlite.command(*words)
        assert ran.returncode == 1, words
        assert "database" in ran.stderr + ran.stdout
        assert "Traceback" not in ran.stderr


def test_another_file_under_a_running_service_is_refused(on_sqlite: Api) -> None:
    """The database is overwritten and its log taken away: no answer that is not recorded, and no crash."""
    kept = on_sqlite.predict()["prediction_id"]
    file = on_sqlite.folder / "stillsafe.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = file.read_bytes()
        for each in on_sqlite.folder.glob("stillsafe.db-*"):
            each.unlink()
        file.write_bytes(os.urandom(len(content)))
    assert refusal(on_sqlite).status == 503
    assert on_sqlite.get("/health/live")["status"] == "live"
    with pytest.raises(Refused) as unready:
        on_sqlite.get("/health/ready")
    assert unready.value.status == 503
    for each in on_sqlite.folder.glob("stillsafe.db-*"):
        each.unlink()
    file.write_bytes(content)
    ids = [kept, on_sqlite.predict()["prediction_id"]]
    assert [row.prediction_id for row in on_sqlite.logged()] == ids
