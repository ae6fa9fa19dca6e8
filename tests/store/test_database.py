"""The engine: durable, one writer at a time, all or nothing, and clear about what is wrong."""

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
from stillsafe.store import database
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
from stillsafe.store import database, prediction_log
from stillsafe.store.write.predictions import PredictionRecord

url, name, commits, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
engine, at = database.connect(url), datetime(2026, 3, 1, tzinfo=UTC)
for commit in range(commits):
    version = f"{name}-{commit}"
    ids = [f"{version}-{row}" for row in range(rows)]
    with database.writing(engine) as connection:
        for one in ids:
            record = PredictionRecord(one, at, version, State.NORMAL, {}, "1", 0.9, False, "why")
            prediction_log.append(connection, [record])
    print(version, flush=True)
"""
TAKER = """
import sys
from stillsafe.store import database
with database.alone(database.connect(sys.argv[1]), "monitor") as alone:
    print(alone, flush=True)
    sys.stdin.read()
"""


def rows(engine: Engine) -> int:
    with database.reading(engine) as connection:
        return prediction_count(connection)


def all_ids(engine: Engine) -> list[int]:
    with database.reading(engine) as connection:
        return list(connection.execute(select(prediction_logs.c.id).order_by(prediction_logs.c.id)).scalars())


def every_row(engine: Engine) -> LogRows:
    with database.reading(engine) as connection:
        return first_healthy_rows(connection, "1", 10_000)


def enter(engine: Engine) -> None:
    with database.writing(engine):
        pytest.fail("this database cannot be written")


def address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections give up on a lock almost at once."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.05)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the administrator's rights, for whom no file is read-only."""
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
    with engine.connect() as first, engine.connect() as second, engine.connect() as third:
        for connection in (first, second, third):
            found = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
            assert found == ["wal", 2]
            assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()


@pytest.mark.usefixtures("impatient")
def test_writing_takes_the_lock_at_once(sqlite: Engine) -> None:
    """A second writer waits before it has read anything, so nobody decides on what is about to change."""
    other = database.connect(address(sqlite))
    with database.writing(sqlite):
        with pytest.raises(StoreError, match=r"^The database cannot be written: database is locked\.$"):
            enter(other)
        assert rows(other) == 0
    write(other, prediction(1))
    assert rows(sqlite) == 1
    other.dispose()


def test_what_a_block_wrote_is_undone_when_it_raises(engine: Engine) -> None:
    """All of a transaction or nothing, whatever goes wrong in it; and the error comes through as it is."""

    def stumble() -> None:
        with database.writing(engine) as connection:
            append_predictions(connection, [prediction(1), prediction(2)])
            assert prediction_count(connection) == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    assert rows(engine) == 0


def test_one_bad_row_undoes_the_good_ones(engine: Engine) -> None:
    """A commit that the database refuses leaves none of its rows."""
    with pytest.raises(StoreError, match=r"(?i)^The database cannot be written: .*unique constraint.*\.$"):
        write(engine, prediction(1), prediction(2), prediction(1))
    assert rows(engine) == 0


def test_a_reader_sees_one_moment(engine: Engine) -> None:
    """What is committed while somebody reads is not seen in the middle of the reading."""
    write(engine, prediction(1))
    with database.reading(engine) as connection:
        assert prediction_count(connection) == 1
        write(engine, prediction(2))
        assert prediction_count(connection) == 1
    assert rows(engine) == 2


def test_two_processes_writing_at_once_both_land(engine: Engine) -> None:
    """Writers wait for one another: every row of every process arrives."""
    writers = [python(WRITER, address(engine), name, 25, 4) for name in "abc"]
    for writer in writers:
        _, complaint = writer.communicate(timeout=60)
        assert (writer.returncode, complaint) == (0, "")
    with database.reading(engine) as connection:
        per_commit = select(func.count()).select_from(prediction_logs).group_by(prediction_logs.c.model_version)
        assert connection.execute(per_commit).scalars().all() == [4] * 75


@pytest.mark.parametrize("commits_seen", [1, 7, 20])
def test_a_killed_writer_leaves_what_it_committed_and_nothing_else(engine: Engine, commits_seen: int) -> None:
    """Kill -9 at any moment: each acknowledged commit is there whole, and no half of another one."""
    with python(WRITER, address(engine), "killed", 100_000, 5) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(commits_seen)]
        writer.kill()
        acknowledged += writer.stdout.read().split()
        assert writer.wait() == -signal.SIGKILL
    with database.reading(engine) as connection:
        counts = select(prediction_logs.c.model_version, func.count()).group_by(prediction_logs.c.model_version)
        found: dict[str, int] = dict(connection.execute(counts).all())
    assert set(found) >= set(acknowledged)
    assert len(found) <= len(acknowledged) + 1
    assert set(found.values()) == {5}
    write(engine, prediction(1))


def test_only_one_is_alone(engine: Engine) -> None:
    """Two at the same purpose: the second is told so; another purpose is another place."""
    with (
        database.alone(engine, "monitor") as first,
        database.alone(engine, "monitor") as second,
        database.alone(engine, "other") as elsewhere,
    ):
        assert (first, second, elsewhere) == (True, False, True)
    with database.alone(engine, "monitor") as again:
        assert again


def test_a_killed_process_leaves_its_place(engine: Engine) -> None:
    """The place belongs to the process: nothing stays taken when it dies, once the server has noticed."""
    code = TAKER.replace("sys.stdin.read()", "import time; time.sleep(60)")
    with python(code, address(engine)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with database.alone(engine, "monitor") as alone:
            assert not alone
        holder.kill()
        holder.wait()
    until(lambda: _is_alone(engine))


def _is_alone(engine: Engine) -> bool:
    with database.alone(engine, "monitor") as alone:
        return alone


def test_a_naive_datetime_is_refused(engine: Engine) -> None:
    """A time without a zone is a mistake, and is never guessed."""
    with pytest.raises(StoreError, match="a datetime without a time zone cannot be stored"):
        write(engine, prediction(1, START.replace(tzinfo=None)))
    assert rows(engine) == 0


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
        (found,) = all_actions(connection)
    assert found.at == moment
    assert found.at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_document_holds_what_json_lacks(engine: Engine, number: float) -> None:
    """NaN and infinity are refused where documents are written."""
    wrong = replace(prediction(1), input_summary={"size": number})
    with pytest.raises(StoreError, match="not JSON compliant"):
        write(engine, wrong)
    assert rows(engine) == 0


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "URL is not one. Write for example sqlite:///"),
        ("sqlite://host/log.db", "URL is not one. Write for example sqlite:///"),
        ("mysql://host/name", "does not store in mysql. Use a sqlite or postgresql URL."),
        ("sqlite+nosuch:///log.db", "no database driver sqlite+nosuch. Leave out what follows the +"),
        ("postgresql+nosuch://me:s3cret@host/name", "through psycopg 3 alone. Leave out what follows the +"),
        ("postgresql+pg8000://me:s3cret@host/name", "through psycopg 3 alone. Leave out what follows"),
    ],
)
def test_a_url_that_names_no_database_of_ours_is_a_configuration_error(url: str, told: str) -> None:
    """A wrong URL is told with its remedy, and without its password."""
    with pytest.raises(ConfigurationError) as refused:
        database.connect(url)
    assert told in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """No database can be opened in it: a store error, in one sentence."""
    engine = database.connect(f"sqlite:///{tmp_path / 'nowhere' / 'log.db'}")
    with pytest.raises(StoreError, match=r"^The database cannot be read: unable to open database file\.$"):
        rows(engine)
    with pytest.raises(StoreError, match=r"^The database cannot be written: unable to open database file\.$"):
        enter(engine)
    with pytest.raises(StoreError, match="lock beside the database cannot"), database.alone(engine, "monitor"):
        pytest.fail("there is no place to take")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """Somebody else's file is neither read nor overwritten."""
    file = tmp_path / "log.db"
    file.write_text("a shopping list\n" * 100)
    engine = database.connect(f"sqlite:///{file}")
    with pytest.raises(StoreError, match=r"^The database cannot be read: file is not a database\.$"):
        rows(engine)
    with pytest.raises(StoreError, match=r"file is not a database\.$"):
        database.upgrade(engine)
    assert file.read_text().startswith("a shopping list")


def test_a_damaged_file_is_told(file: Path) -> None:
    """Pages that make no sense are a store error for whoever reads them."""
    engine = database.connect(f"sqlite:///{file}")
    write(engine, *(prediction(number) for number in range(2000)))
    engine.dispose()
    content = bytearray(file.read_bytes())
    content[4096 * 20 :] = b"\xff" * len(content[4096 * 20 :])
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"^The database cannot be read: database disk image is malformed\.$"):
        every_row(engine)
    engine.dispose()


def test_a_read_only_file_is_told() -> None:
    """What may not be written raises a store error, and nothing pretends to have been stored."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = database.connect(f"sqlite:///{folder / 'log.db'}")
        database.upgrade(engine)
        engine.dispose()
        (folder / "log.db").chmod(0o444)
        folder.chmod(0o555)
        with as_nobody():
            with pytest.raises(StoreError, match=r"^The database cannot be read: .+\.$"):
                rows(engine)
            with pytest.raises(StoreError, match=r"^The database cannot be written: .+\.$"):
                enter(engine)
        folder.chmod(0o755)
        assert rows(engine) == 0
        engine.dispose()


def test_a_database_that_was_moved_away_is_not_written_any_more(tmp_path: Path) -> None:
    """An engine whose file was moved, and another put in its place, reads and writes the one that is there."""
    engine = database.connect(f"sqlite:///{tmp_path / 'log.db'}")
    database.upgrade(engine)
    with database.writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO operator_actions VALUES (1, '2026-01-01', 'hold', 'a', 'b', NULL)")
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


def test_a_time_that_is_none_is_a_store_error(tmp_path: Path) -> None:
    """A timestamp written by hand that cannot be read is told as damage, and not as a bug."""
    engine = database.connect(f"sqlite:///{tmp_path / 'log.db'}")
    database.upgrade(engine)
    with database.writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO operator_actions VALUES (1, 'garbage', 'hold', 'a', 'b', NULL)")
    with pytest.raises(StoreError, match="time that is none"), database.reading(engine) as connection:
        connection.execute(select(operator_actions)).all()


def ask(engine: Engine, setting: str) -> object:
    with database.reading(engine) as connection:
        return connection.execute(select(func.current_setting(setting))).scalar()


@pytest.mark.parametrize(("default", "kept"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
def test_a_servers_default_weakens_nothing(postgres_url: str, default: str, kept: str) -> None:
    """A commit is on disk when it returns, though server or role say otherwise; what is stronger stays."""
    engine = database.connect(f"{postgres_url}%20-csynchronous_commit%3D{default}%20-cextra_float_digits%3D-9")
    assert ask(engine, "synchronous_commit") == kept
    assert ask(engine, "extra_float_digits") == "1"
    assert ask(engine, "TimeZone") == "UTC"
    assert ask(engine, "lock_timeout") == f"{database.BUSY_TIMEOUT_SECONDS}s"


def test_who_changes_the_state_waits_for_the_one_who_does(postgres_url: str, impatient: None) -> None:
    """On PostgreSQL, too, nobody decides on a state that is about to change; predictions are not held up by it."""
    engine = database.connect(postgres_url)
    database.upgrade(engine)
    with database.writing(engine) as first:
        assert current_state(first) is None
        write(engine, prediction(1))
        with pytest.raises(StoreError, match="lock timeout"), database.writing(engine) as second:
            current_state(second)
        with database.reading(engine) as looking:
            assert current_state(looking) is None
    with database.writing(engine) as third:
        assert current_state(third) is None


def test_a_run_begins_when_what_is_being_written_has_landed(postgres_url: str, impatient: None) -> None:
    """Ids are given before the commit, so whoever is alone waits for open writers, and then none can slip in below."""
    engine = database.connect(postgres_url)
    database.upgrade(engine)
    with database.writing(engine) as connection:
        append_predictions(connection, [prediction(1)])
        with pytest.raises(StoreError, match="lock timeout"), database.alone(engine, "monitor"):
            pytest.fail("a row is still on its way")
    with database.alone(engine, "monitor") as alone:
        assert alone
        assert rows(engine) == 1
        write(engine, prediction(2))


def test_another_schema_is_another_place(postgres: Postgres, postgres_url: str) -> None:
    """Two services in one database, each in a schema of its own, do not keep one another out."""
    engine, other = (database.connect(url) for url in (postgres_url, postgres.empty()))
    with database.alone(engine, "monitor") as first, database.alone(other, "monitor") as second:
        assert (first, second) == (True, True)


def test_postgresql_without_its_driver_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain install has no driver for PostgreSQL: what to install is said, once the URL asks for it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"pip install stillsafe\[postgres\]"):
        database.connect("postgresql://me:s3cret@host/name")


def test_a_database_of_another_encoding_is_refused(postgres: Postgres, postgres_url: str) -> None:
    """A database that cannot hold every text is refused before anything is in it."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE narrow ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="encoded in LATIN1: create it with ENCODING 'UTF8'"):
        database.upgrade(database.connect(postgres.url("narrow")))


def test_a_server_that_is_not_there_is_told() -> None:
    """Nobody listens: a store error in one line, and without the password."""
    engine = database.connect("postgresql://me:s3cret@127.0.0.1:1/name")
    for attempt in (rows, enter):
        with pytest.raises(StoreError, match=r"^The database cannot be (read|written): connection") as told:
            attempt(engine)
        assert "s3cret" not in str(told.value)
    with pytest.raises(StoreError, match="cannot be read"), database.alone(engine, "monitor"):
        pytest.fail("there is no place to take")


def test_text_that_no_database_can_hold_is_replaced(engine: Engine) -> None:
    """The zero character and half a surrogate pair cost neither the row nor its meaning, and read alike everywhere."""
    bad, good = "a\x00b\ud800c", "a\ufffdb\ufffdc"
    write(engine, replace(prediction(1), input_summary={bad: bad, "path": "\\u0000"}, prediction=bad, reason=bad))
    with database.reading(engine) as connection:
        row = connection.execute(select(prediction_logs)).one()
    assert (row.input_summary, row.prediction, row.reason) == ({good: good, "path": "\\u0000"}, good, good)


def test_a_copy_is_whole_while_others_write(sqlite: Engine, tmp_path: Path) -> None:
    """The copy holds everything committed before it began, in order and without gaps, and opens like any database."""
    url = sqlite.url.render_as_string()
    writer = python(WRITER, url, "w", "60", "3")
    assert writer.stdout is not None
    for _ in range(5):
        writer.stdout.readline()
    before = rows(sqlite)
    database.back_up(sqlite, tmp_path / "copy.db")
    _told, complaint = writer.communicate(timeout=60)
    assert (writer.returncode, complaint) == (0, "")
    copy = database.connect(f"sqlite:///{tmp_path / 'copy.db'}")
    database.require_current(copy)
    found, everything = all_ids(copy), all_ids(sqlite)
    copy.dispose()
    assert before <= len(found) <= len(everything) == 180
    assert len(found) % 3 == 0
    assert found == everything[: len(found)]


def test_a_copy_replaces_nothing(sqlite: Engine, tmp_path: Path) -> None:
    """A file that is there is left alone, and one that cannot be written leaves nothing behind."""
    (tmp_path / "there").write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        database.back_up(sqlite, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    with pytest.raises(StoreError, match="cannot be copied"):
        database.back_up(sqlite, tmp_path / "nowhere" / "copy.db")
    before = sorted(tmp_path.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
    try:
        with pytest.raises(StoreError, match="cannot be copied"):
            database.back_up(sqlite, tmp_path / "copy.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert sorted(tmp_path.iterdir()) == before
