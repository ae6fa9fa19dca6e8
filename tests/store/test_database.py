"""Engines, transactions and locks: durable, atomic, exclusive, and with clear errors."""

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, func, insert, select, text

from stillsafe.errors import ConfigurationError, StoreError
from stillsafe.store import database, database_server
from stillsafe.store.read.requests import LogRows, first_healthy_rows, prediction_count
from stillsafe.store.read.runs import all_actions
from stillsafe.store.read.state import current_state
from stillsafe.store.tables import operator_actions, prediction_logs
from stillsafe.store.write.predictions import append_predictions
from tests.postgres import Postgres
from tests.store.conftest import START, prediction, write
from tests.store.processes import python, until

NOBODY = 65534

WRITER = """
import sys
from datetime import UTC, datetime
from stillsafe.core.state import State
from stillsafe.store import database
from stillsafe.store.records import PredictionRecord
from stillsafe.store.write.predictions import append_predictions

url, name, commits, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
engine, at = database.connect(url), datetime(2026, 3, 1, tzinfo=UTC)
for commit in range(commits):
    version = f"{name}-{commit}"
    ids = [f"{version}-{row}" for row in range(rows)]
    with database.writing(engine) as connection:
        for prediction_id in ids:
            record = PredictionRecord(prediction_id, at, version, State.NORMAL, {}, "1", 0.9, False, "why")
            append_predictions(connection, [record])
    print(version, flush=True)
"""
HOLDER = """
import sys
from stillsafe.store import database
with database.try_lock(database.connect(sys.argv[1]), "monitor") as owns_lock:
    print(owns_lock, flush=True)
    sys.stdin.read()
"""


def row_count(engine: Engine) -> int:
    with database.reading(engine) as connection:
        return prediction_count(connection)


def all_ids(engine: Engine) -> list[int]:
    with database.reading(engine) as connection:
        return list(connection.execute(select(prediction_logs.c.id).order_by(prediction_logs.c.id)).scalars())


def all_rows(engine: Engine) -> LogRows:
    with database.reading(engine) as connection:
        return first_healthy_rows(connection, "1", 10_000)


def begin_writing(engine: Engine) -> None:
    with database.writing(engine):
        pytest.fail("this database cannot be written")


def address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


@pytest.fixture
def short_busy_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections wait only 50 ms for a lock."""
    for module in (database, database_server):
        monkeypatch.setattr(module, "BUSY_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(database_server, "BUSY_TIMEOUT_SECONDS", 0.05)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the administrator's rights, to whom every file is writable."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_every_sqlite_connection_is_durable(tmp_path: Path) -> None:
    """Write-ahead log, a sync with each commit, and foreign keys: on each connection of the pool, and not only one."""
    engine = database.connect(f"sqlite:///{tmp_path / 'log.db'}")
    database.upgrade(engine)
    with engine.connect() as first, engine.connect() as second, engine.connect() as third:
        for connection in (first, second, third):
            pragmas = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
            assert pragmas == ["wal", 2]
            assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()


@pytest.mark.usefixtures("short_busy_timeout")
def test_writing_takes_the_lock_at_once(sqlite: Engine) -> None:
    """A second writer waits before it reads anything, so no decision rests on rows that are about to change."""
    other = database.connect(address(sqlite))
    with database.writing(sqlite):
        with pytest.raises(StoreError, match=r"^The database cannot be written: database is locked\.$"):
            begin_writing(other)
        assert row_count(other) == 0
    write(other, prediction(1))
    assert row_count(sqlite) == 1
    other.dispose()


def test_a_block_that_raises_is_rolled_back(engine: Engine) -> None:
    """A transaction is atomic whatever error ends it, and the error reaches the caller unchanged."""

    def fail() -> None:
        with database.writing(engine) as connection:
            append_predictions(connection, [prediction(1), prediction(2)])
            assert prediction_count(connection) == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert row_count(engine) == 0


def test_one_bad_row_rolls_back_the_others(engine: Engine) -> None:
    """A commit that the database refuses leaves none of its rows."""
    with pytest.raises(StoreError, match=r"(?i)^The database cannot be written: .*unique constraint.*\.$"):
        write(engine, prediction(1), prediction(2), prediction(1))
    assert row_count(engine) == 0


def test_a_reader_sees_one_snapshot(engine: Engine) -> None:
    """A read transaction does not see what others commit meanwhile."""
    write(engine, prediction(1))
    with database.reading(engine) as connection:
        assert prediction_count(connection) == 1
        write(engine, prediction(2))
        assert prediction_count(connection) == 1
    assert row_count(engine) == 2


def test_processes_that_write_at_once_lose_no_row(engine: Engine) -> None:
    """Writers wait for one another: every row of every process is stored."""
    writers = [python(WRITER, address(engine), name, 25, 4) for name in "abc"]
    for writer in writers:
        _, stderr = writer.communicate(timeout=60)
        assert (writer.returncode, stderr) == (0, "")
    with database.reading(engine) as connection:
        per_commit = select(func.count()).select_from(prediction_logs).group_by(prediction_logs.c.model_version)
        assert connection.execute(per_commit).scalars().all() == [4] * 75


@pytest.mark.parametrize("commit_count", [1, 7, 20])
def test_a_killed_writer_leaves_what_it_committed_and_nothing_else(engine: Engine, commit_count: int) -> None:
    """After kill -9 at any moment each acknowledged commit is complete, and no other commit is partial."""
    with python(WRITER, address(engine), "killed", 100_000, 5) as writer:
        assert writer.stdout is not None
        committed_versions = [writer.stdout.readline().strip() for _ in range(commit_count)]
        writer.kill()
        committed_versions += writer.stdout.read().split()
        assert writer.wait() == -signal.SIGKILL
    with database.reading(engine) as connection:
        counts = select(prediction_logs.c.model_version, func.count()).group_by(prediction_logs.c.model_version)
        rows_by_version: dict[str, int] = dict(connection.execute(counts).all())
    assert set(rows_by_version) >= set(committed_versions)
    assert len(rows_by_version) <= len(committed_versions) + 1
    assert set(rows_by_version.values()) == {5}
    write(engine, prediction(1))


def test_one_process_at_a_time_has_the_lock_of_a_purpose(engine: Engine) -> None:
    """The second one gets False; another purpose is another lock, and a released lock is free again."""
    with (
        database.try_lock(engine, "monitor") as first,
        database.try_lock(engine, "monitor") as second,
        database.try_lock(engine, "other") as other_purpose,
    ):
        assert (first, second, other_purpose) == (True, False, True)
    with database.try_lock(engine, "monitor") as again:
        assert again


def test_a_killed_process_loses_its_lock(engine: Engine) -> None:
    """The lock is free again once the kernel or the server has noticed that the process is dead."""
    code = HOLDER.replace("sys.stdin.read()", "import time; time.sleep(60)")
    with python(code, address(engine)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with database.try_lock(engine, "monitor") as owns_lock:
            assert not owns_lock
        holder.kill()
        holder.wait()
    until(lambda: _gets_lock(engine))


def _gets_lock(engine: Engine) -> bool:
    with database.try_lock(engine, "monitor") as owns_lock:
        return owns_lock


def test_a_naive_datetime_is_refused(engine: Engine) -> None:
    """A time without a time zone is an error: no zone is assumed."""
    with pytest.raises(StoreError, match="a datetime without a time zone cannot be stored"):
        write(engine, prediction(1, START.replace(tzinfo=None)))
    assert row_count(engine) == 0


@pytest.mark.parametrize(
    "moment",
    [
        START,
        datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        datetime(1999, 12, 31, tzinfo=timezone(timedelta(hours=-11))),
    ],
)
def test_a_time_comes_back_as_the_same_moment_in_utc(engine: Engine, moment: datetime) -> None:
    """To the microsecond, whatever zone it was written in."""
    with database.writing(engine) as connection:
        values = {"at": moment, "action": "hold", "by": "me", "reason": "why"}
        connection.execute(insert(operator_actions).values(values))
        (action,) = all_actions(connection)
    assert action.at == moment
    assert action.at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_document_holds_what_json_lacks(engine: Engine, number: float) -> None:
    """NaN and infinity are refused where documents are written."""
    record = replace(prediction(1), input_summary={"size": number})
    with pytest.raises(StoreError, match="not JSON compliant"):
        write(engine, record)
    assert row_count(engine) == 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "URL is not valid. Write for example sqlite:///"),
        ("sqlite://host/log.db", "URL is not valid. Write for example sqlite:///"),
        ("mysql://host/name", "does not support mysql. Write a sqlite or postgresql URL."),
        ("sqlite+nosuch:///log.db", "no database driver sqlite+nosuch. Leave out the + sign"),
        (
            "postgresql+nosuch://me:s3cret@host/name",
            "psycopg 3 for PostgreSQL and no other driver. Leave out the + sign",
        ),
        (
            "postgresql+pg8000://me:s3cret@host/name",
            "psycopg 3 for PostgreSQL and no other driver. Leave out the + sign",
        ),
    ],
)
def test_an_unsupported_url_is_a_configuration_error(url: str, message: str) -> None:
    """The error names the remedy and never the password."""
    with pytest.raises(ConfigurationError) as error:
        database.connect(url)
    assert message in str(error.value)
    assert "s3cret" not in str(error.value)


def test_a_missing_folder_is_a_store_error(tmp_path: Path) -> None:
    """No database or lock file can be opened in it."""
    engine = database.connect(f"sqlite:///{tmp_path / 'nowhere' / 'log.db'}")
    with pytest.raises(StoreError, match=r"^The database cannot be read: there is no file .*/nowhere/log\.db\.$"):
        row_count(engine)
    with pytest.raises(StoreError, match=r"^The database cannot be written: there is no file .*/nowhere/log\.db\.$"):
        begin_writing(engine)
    with (
        pytest.raises(StoreError, match=r"lock file log\.db\.monitor\.lock cannot"),
        database.try_lock(engine, "monitor"),
    ):
        pytest.fail("there is nothing to lock")


def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    """A file of another program is not overwritten."""
    file = tmp_path / "log.db"
    file.write_text("a shopping list\n" * 100)
    engine = database.connect(f"sqlite:///{file}")
    with pytest.raises(StoreError, match=r"^The database cannot be read: file is not a database\.$"):
        row_count(engine)
    with pytest.raises(StoreError, match=r"file is not a database\.$"):
        database.upgrade(engine)
    assert file.read_text().startswith("a shopping list")


def test_a_damaged_file_is_a_store_error(file: Path) -> None:
    """Reading damaged pages raises a store error."""
    engine = database.connect(f"sqlite:///{file}")
    write(engine, *(prediction(number) for number in range(2000)))
    engine.dispose()
    content = bytearray(file.read_bytes())
    content[4096 * 20 :] = b"\xff" * len(content[4096 * 20 :])
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"^The database cannot be read: database disk image is malformed\.$"):
        all_rows(engine)
    engine.dispose()


def test_a_read_only_file_is_a_store_error() -> None:
    """Reading and writing raise a store error, and nothing is stored."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = database.connect(f"sqlite:///{folder / 'log.db'}")
        database.upgrade(engine)
        engine.dispose()
        (folder / "log.db").chmod(0o444)
        folder.chmod(0o555)
        with as_nobody():
            with pytest.raises(StoreError, match=r"^The database cannot be read: .+\.$"):
                row_count(engine)
            with pytest.raises(StoreError, match=r"^The database cannot be written: .+\.$"):
                begin_writing(engine)
        folder.chmod(0o755)
        assert row_count(engine) == 0
        engine.dispose()


def test_a_database_that_was_moved_is_opened_anew(tmp_path: Path) -> None:
    """An engine whose file was moved and put back reads the file that is there, not the one that it had open."""
    engine = database.connect(f"sqlite:///{tmp_path / 'log.db'}")
    database.upgrade(engine)
    with database.writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO operator_actions VALUES (1, '2026-01-01', 'hold', 'a', 'b', NULL, 1)")
    for file in tmp_path.glob("log.db*"):
        file.rename(tmp_path / f"away-{file.name}")
    with pytest.raises(StoreError), database.reading(engine) as connection:
        connection.exec_driver_sql("SELECT * FROM operator_actions")
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    for file in tmp_path.glob("away-log.db*"):
        file.rename(tmp_path / file.name.removeprefix("away-"))
    with database.reading(engine) as connection:
        assert len(connection.exec_driver_sql("SELECT * FROM operator_actions").all()) == 1


def test_an_invalid_time_is_a_store_error(tmp_path: Path) -> None:
    """A timestamp that was edited by hand and cannot be parsed is damage, not a bug."""
    engine = database.connect(f"sqlite:///{tmp_path / 'log.db'}")
    database.upgrade(engine)
    with database.writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO operator_actions VALUES (1, 'garbage', 'hold', 'a', 'b', NULL, 1)")
    with pytest.raises(StoreError, match="invalid time"), database.reading(engine) as connection:
        connection.execute(select(operator_actions)).all()


def server_setting(engine: Engine, setting: str) -> object:
    with database.reading(engine) as connection:
        return connection.execute(select(func.current_setting(setting))).scalar()


@pytest.mark.parametrize(("default", "effective"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
def test_a_servers_default_weakens_nothing(postgres_url: str, default: str, effective: str) -> None:
    """A commit is on the disk when it returns, whatever the server's or role's default; a stronger default stays."""
    engine = database.connect(f"{postgres_url}%20-csynchronous_commit%3D{default}%20-cextra_float_digits%3D-9")
    assert server_setting(engine, "synchronous_commit") == effective
    assert server_setting(engine, "extra_float_digits") == "1"
    assert server_setting(engine, "TimeZone") == "UTC"
    assert server_setting(engine, "lock_timeout") == f"{database.BUSY_TIMEOUT_SECONDS}s"


def test_changes_of_the_state_are_serialized(postgres_url: str, short_busy_timeout: None) -> None:
    """On PostgreSQL, too, a transaction that changes the state waits for the one before; predictions do not wait."""
    engine = database.connect(postgres_url)
    database.upgrade(engine)
    with database.writing(engine) as first:
        assert current_state(first) is None
        write(engine, prediction(1))
        with pytest.raises(StoreError, match="lock timeout"), database.writing(engine) as second:
            current_state(second)
        with database.reading(engine) as reader:
            assert current_state(reader) is None
    with database.writing(engine) as third:
        assert current_state(third) is None


def test_the_monitors_lock_waits_for_open_writers(postgres_url: str, short_busy_timeout: None) -> None:
    """Ids are assigned before the commit, so the lock waits for open writers: no lower id appears afterwards."""
    engine = database.connect(postgres_url)
    database.upgrade(engine)
    with database.writing(engine) as connection:
        append_predictions(connection, [prediction(1)])
        with pytest.raises(StoreError, match="lock timeout"), database.try_lock(engine, "monitor"):
            pytest.fail("a writer has not committed yet")
    with database.try_lock(engine, "monitor") as owns_lock:
        assert owns_lock
        assert row_count(engine) == 1
        write(engine, prediction(2))


def test_each_schema_has_its_own_locks(postgres: Postgres, postgres_url: str) -> None:
    """Two services in one database, each in its own schema, do not block each other."""
    engine, other = (database.connect(url) for url in (postgres_url, postgres.empty()))
    with database.try_lock(engine, "monitor") as first, database.try_lock(other, "monitor") as second:
        assert (first, second) == (True, True)


def test_postgresql_without_its_driver_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain installation has no driver for PostgreSQL; the error names the package to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"pip install stillsafe\[postgres\]"):
        database.connect("postgresql://me:s3cret@host/name")


def test_a_database_of_another_encoding_is_refused(postgres: Postgres, postgres_url: str) -> None:
    """A database that cannot store every text is refused before its tables are created."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE narrow ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="encoded in LATIN1: create it with ENCODING 'UTF8'"):
        database.upgrade(database.connect(postgres.url("narrow")))


def test_an_unreachable_server_is_a_store_error() -> None:
    """The error has one line and no password."""
    engine = database.connect("postgresql://me:s3cret@127.0.0.1:1/name")
    for attempt in (row_count, begin_writing):
        with pytest.raises(StoreError, match=r"^The database cannot be (read|written): connection") as error:
            attempt(engine)
        assert "s3cret" not in str(error.value)
    with pytest.raises(StoreError, match="cannot be read"), database.try_lock(engine, "monitor"):
        pytest.fail("there is nothing to lock")


def test_text_that_no_database_can_store_is_replaced(engine: Engine) -> None:
    """U+0000 and a lone surrogate become U+FFFD, equally in every database; the rest of the text stays."""
    bad, good = "a\x00b\ud800c", "a\ufffdb\ufffdc"
    write(engine, replace(prediction(1), input_summary={bad: bad, "path": "\\u0000"}, prediction=bad, reason=bad))
    with database.reading(engine) as connection:
        row = connection.execute(select(prediction_logs)).one()
    assert (row.input_summary, row.prediction, row.reason) == ({good: good, "path": "\\u0000"}, good, good)


def test_a_copy_is_whole_while_others_write(sqlite: Engine, tmp_path: Path) -> None:
    """The copy has every commit from before it began, in order and without gaps, and opens like any database."""
    url = sqlite.url.render_as_string()
    writer = python(WRITER, url, "w", "60", "3")
    assert writer.stdout is not None
    for _ in range(5):
        writer.stdout.readline()
    count_before = row_count(sqlite)
    database.back_up(sqlite, tmp_path / "copy.db")
    _, stderr = writer.communicate(timeout=60)
    assert (writer.returncode, stderr) == (0, "")
    copy = database.connect(f"sqlite:///{tmp_path / 'copy.db'}")
    database.require_current(copy)
    copied_ids, ids = all_ids(copy), all_ids(sqlite)
    copy.dispose()
    assert count_before <= len(copied_ids) <= len(ids) == 180
    assert len(copied_ids) % 3 == 0
    assert copied_ids == ids[: len(copied_ids)]


def test_a_copy_replaces_nothing(sqlite: Engine, tmp_path: Path) -> None:
    """An existing file stays as it is, and a copy that fails leaves no file."""
    (tmp_path / "there").write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        database.back_up(sqlite, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    with pytest.raises(StoreError, match="cannot be copied"):
        database.back_up(sqlite, tmp_path / "nowhere" / "copy.db")
    files_before = sorted(tmp_path.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
    try:
        with pytest.raises(StoreError, match="cannot be copied"):
            database.back_up(sqlite, tmp_path / "copy.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert sorted(tmp_path.iterdir()) == files_before
