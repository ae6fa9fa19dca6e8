"""The engine: SQLite in WAL mode with full sync by default, PostgreSQL by another URL; and the migrations."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, Function, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import (
    ArgumentError,
    DisconnectionError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from stillsafe.errors import ConfigurationError, SchemaMismatch, StoreError, StoreUnavailable
from stillsafe.store.codec import loads, storable_json
from stillsafe.store.disk import sync

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 5
_OURS = 0x5AFE
_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk fails",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_BUSY: "the database is locked",
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
    sqlite3.SQLITE_NOTADB: "the database is damaged",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened",
}
# What may be otherwise in a moment. A value or a table that is wrong stays wrong however often it is tried.
_PASSING = (OperationalError, InterfaceError, InternalError, DisconnectionError, PoolTimeoutError)
_PREPARE_POSTGRESQL = """
    SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                      WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
           set_config('lock_timeout', %s, false),
           set_config('TimeZone', 'UTC', false),
           set_config('extra_float_digits', '1', false)
"""

logger = logging.getLogger(__name__)


def connect(url: str) -> Engine:
    """An engine for the URL. Nothing is opened yet.

    Raises:
        ConfigurationError: for a URL that names no database of ours.
    """
    try:
        parsed = make_url(url)
        return _engine(parsed)
    except NoSuchModuleError:
        remedy = "Leave out what follows the + sign, or write a driver that SQLAlchemy knows."
        raise ConfigurationError(f"There is no database driver {parsed.drivername}.", remedy) from None
    except (ArgumentError, ValueError):
        remedy = "Write for example sqlite:///stillsafe.db or postgresql://user@host/name."
        raise ConfigurationError("The database's URL is not one.", remedy) from None
    except ImportError:
        remedy = "Install it: pip install stillsafe[postgres]"
        raise ConfigurationError("PostgreSQL needs the package psycopg and its library.", remedy) from None


def _engine(url: URL) -> Engine:
    match url.get_backend_name():
        case "sqlite":
            waiting = {"timeout": BUSY_TIMEOUT_SECONDS}
            engine = create_engine(url, json_serializer=storable_json, json_deserializer=loads, connect_args=waiting)
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            if url.database and url.database != ":memory:":
                files = [f"{url.database}{ending}" for ending in ("", "-wal", "-shm")]
                event.listen(engine, "connect", partial(_remember_files, files))
                event.listen(engine, "checkout", partial(_require_same_files, files))
            return engine
        case "postgresql":
            return _postgresql_engine(url)
        case other:
            raise ConfigurationError(f"Stillsafe does not store in {other}.", "Use a sqlite or postgresql URL.")


def _postgresql_engine(url: URL) -> Engine:
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        remedy = "Leave out what follows the + sign."
        raise ConfigurationError("Stillsafe speaks to PostgreSQL through psycopg 3 alone.", remedy)
    arguments: dict[str, Any] = {"client_encoding": "utf8"}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT_SECONDS
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        json_serializer=storable_json,
        json_deserializer=loads,
        connect_args=arguments,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
    )
    event.listen(engine, "connect", _prepare_postgresql)
    event.listen(engine, "begin", _begin_postgresql)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that reads one consistent snapshot.

    Raises:
        StoreError: the database cannot be read.
    """
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection
    except (SQLAlchemyError, ValueError) as error:
        raise _store_error("read", error) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction, committed and synced to disk when the block ends, undone when it raises.

    On SQLite it takes the write lock at once, so that what it reads is still true when it writes. On PostgreSQL
    many write at once; who reads the state in order to change it waits for its turn there (`in_turn`).

    Raises:
        StoreError: the database cannot be written.
    """
    try:
        with engine.execution_options(immediate=True).begin() as connection:
            yield connection
    except (SQLAlchemyError, ValueError) as error:
        raise _store_error("written", error) from error


@contextmanager
def driver_errors(engine: Engine, what: str) -> Iterator[None]:
    """For work past SQLAlchemy: the driver's errors in our words.

    Raises:
        StoreError: the database cannot be ... `what` says.
    """
    try:
        yield
    except engine.dialect.loaded_dbapi.Error as error:
        raise StoreError(f"The database cannot be {what}: {error}.", reason=reason(error)) from error


def upgrade(engine: Engine) -> None:
    """Bring the database to this version's schema. Safe on one that is already there.

    Raises:
        StoreError: it cannot be written, or it is newer than this Stillsafe.
    """
    if revision(engine) not in {None, *known_revisions()}:
        raise SchemaMismatch("The database was written by a newer Stillsafe: upgrade the package.")
    with writing(engine) as connection:
        in_turn(connection, "upgrade")
        _require_unicode(connection)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def back_up(engine: Engine, file: Path) -> None:
    """Copy a SQLite database as it is at one moment, whoever is writing meanwhile, into a file that does not exist yet.

    Under its name the copy is whole and on the disk.

    Raises:
        StoreError: the database cannot be read, or the copy cannot be written or exists already.
    """
    if file.exists():
        raise StoreError(f"{file} exists already: move it away first.")
    unfinished = file.with_name(file.name + ".partial")
    unfinished.unlink(missing_ok=True)
    try:
        with reading(engine) as connection, driver_errors(engine, "copied"), closing(sqlite3.connect(unfinished)) as copy:
            driver: Any = connection.connection.driver_connection
            driver.backup(copy)
        sync(unfinished)
        unfinished.rename(file)
        sync(file.parent)
    except OSError as error:
        raise StoreError(f"The database cannot be copied: {error}.") from error
    finally:
        unfinished.unlink(missing_ok=True)


def revision(engine: Engine) -> str | None:
    """The schema's revision in the database, or None where it was never made."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def known_revisions() -> list[str]:
    """Every revision that this version knows, newest first."""
    return [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]


def require_current(engine: Engine) -> None:
    """Refuse to work on a schema that is not this version's.

    Raises:
        SchemaMismatch: saying what to do.
    """
    found, known = revision(engine), known_revisions()
    if found == known[0]:
        return
    if found is None:
        raise SchemaMismatch("The database has no tables yet: run `stillsafe db upgrade`.")
    if found in known:
        raise SchemaMismatch("The database is of an older version: back it up, then run `stillsafe db upgrade`.")
    raise SchemaMismatch(f"The database is of a newer version ({found}) than this Stillsafe: upgrade the package.")


@contextmanager
def alone(engine: Engine, purpose: str) -> Iterator[bool]:
    """Whether this process is the only one at `purpose` on this database, and hold the place while the block runs.

    The place is the kernel's or the server's to give, so a killed process never leaves it taken.
    """
    if engine.dialect.name == "sqlite":
        file = engine.url.database
        if not file or file == ":memory:":
            yield True
            return
        with _lock_file(Path(f"{file}.{purpose}.lock")) as taken:
            yield taken
        return
    with _advisory_lock(engine, purpose) as taken:
        yield taken


def in_turn(connection: Connection, purpose: str) -> None:
    """Wait until no other transaction is at `purpose`, and keep the others out until this one ends.

    SQLite has one writer at a time anyway.

    Raises:
        SQLAlchemyError: the others took longer than the lock's timeout; `writing` makes a StoreError of it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(*_place(purpose))))


@contextmanager
def _advisory_lock(engine: Engine, purpose: str) -> Iterator[bool]:
    """The place on PostgreSQL: the session's, outside any transaction, since a run may outlast what those may last."""
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except SQLAlchemyError as error:
        raise _store_error("read", error) from error
    with connection:
        try:
            taken = bool(connection.execute(select(func.pg_try_advisory_lock(*_place(purpose)))).scalar())
        except SQLAlchemyError as error:
            connection.invalidate()
            raise _store_error("read", error) from error
        try:
            if taken:
                _await_writers(connection)
            yield taken
        except SQLAlchemyError as error:
            raise _store_error("read", error) from error
        finally:
            if taken:
                _give_back(connection, purpose)


def _give_back(connection: Connection, purpose: str) -> None:
    try:
        connection.execute(select(func.pg_advisory_unlock(*_place(purpose))))
    except SQLAlchemyError:  # a session that is lost has lost its place, too, as soon as the server notices
        connection.invalidate()


def _await_writers(connection: Connection) -> None:
    """Wait until every transaction that was writing has ended.

    Row ids and timestamps are given before the commit. Without this wait a row could appear behind a run that has
    judged its time already, and a replay of that run would count it.
    """
    connection.execute(select(func.pg_advisory_lock(*_place("writing"))))
    connection.execute(select(func.pg_advisory_unlock(*_place("writing"))))


def _place(purpose: str) -> tuple[int, Function[int]]:
    """The two numbers of an advisory lock: ours, and the purpose's within the schema that holds the tables."""
    return _OURS, func.hashtext(func.concat(purpose, ":", func.current_schema()))


def _require_unicode(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise StoreError(f"The database is encoded in {encoding}: create it with ENCODING 'UTF8'.")


@contextmanager
def _lock_file(path: Path) -> Iterator[bool]:
    try:
        handle = path.open("a")
    except OSError as error:
        raise StoreError(f"The lock beside the database cannot be opened: {error}.") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction control is switched off: it would begin late, and not before reads.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _remember_files(files: Sequence[str], _connection: Any, record: Any) -> None:
    record.info["files"] = [_identity(file) for file in files]


def _require_same_files(files: Sequence[str], _connection: Any, record: Any, _proxy: Any) -> None:
    """A database that was moved, deleted or restored is opened anew: the old files are nobody's log any more."""
    known, found = record.info["files"], [_identity(file) for file in files]
    # Those beside the database itself come with the first transaction.
    if any(was not in (None, now) for was, now in zip(known, found, strict=True)):
        raise DisconnectionError("the database's files are others now")
    record.info["files"] = found


def _identity(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    """What a server's or a role's default may not weaken: durability, the exactness of numbers, and patience."""
    connection.autocommit = True  # a setting made in a transaction is undone with it
    with connection.cursor() as cursor:
        cursor.execute(_PREPARE_POSTGRESQL, (f"{round(BUSY_TIMEOUT_SECONDS * 1000)}ms",))
    connection.autocommit = False


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("immediate", False):
        connection.execute(select(func.pg_advisory_xact_lock_shared(*_place("writing"))))


def _store_error(what: str, error: SQLAlchemyError | ValueError) -> Exception:
    """The error in our words. A ValueError is ours to translate only where a value can be no stored one."""
    if isinstance(error, SQLAlchemyError):
        kind = StoreUnavailable if isinstance(error, _PASSING) else StoreError
        return kind(f"The database cannot be {what}: {_cause(error)}.", reason=reason(error.__cause__))
    if "datetime string" in str(error) or "isoformat" in str(error):
        return StoreError(f"The database holds a time that is none: {error}.")
    if "not JSON compliant" in str(error) or "without a time zone" in str(error):
        return StoreError(f"The database cannot be {what}: {error}.")
    return error


def reason(error: BaseException | None) -> str:
    """What is wrong with SQLite's file in words that any client may read, or empty where it is something else."""
    # The upper bits tell more than a client needs.
    return _REASONS.get(error.sqlite_errorcode & 0xFF, "") if isinstance(error, sqlite3.Error) else ""


def _cause(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0].rstrip(".")
