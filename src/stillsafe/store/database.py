"""Engines, transactions, locks, migrations and backups, for SQLite (WAL, full sync) and PostgreSQL."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, bindparam, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from stillsafe.errors import ConfigurationError, SchemaMismatch, StoreError, StoreMissing, StoreUnavailable
from stillsafe.store import database_file, database_server
from stillsafe.store.codec import loads, storable_json
from stillsafe.store.disk import create_private, sync, try_lock_file
from stillsafe.store.driver_transaction import DriverConnection, RowConnection, driver_transaction
from stillsafe.store.tables import FIRST_SERVICE, services

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_SECONDS = database_server.BUSY_TIMEOUT_SECONDS
UNNAMED_SERVICE = "service"
"""Name of the first service of a database that is upgraded without one."""
MISSING_REMEDY = (
    "If the service has run before, bring its database back (a volume that is not mounted, a file that was moved, "
    "another address), or state, holds and incidents are lost. For a new service, `stillsafe db upgrade` creates it."
)
"""What an operator does about a missing or empty database."""
SERVICE_IDS = "stillsafe_services"
"""Where a connection keeps the ids of services that it has read."""
_OWN_ID = select(services.c.id).where(services.c.name == bindparam("name"))
_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reports errors",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_BUSY: "the database is locked",
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
    sqlite3.SQLITE_NOTADB: "the database is damaged",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened",
}
# Errors that may pass by themselves. A wrong value or table raises other errors, and no retry mends it.
_TRANSIENT = (OperationalError, InterfaceError, InternalError, DisconnectionError, PoolTimeoutError)

logger = logging.getLogger(__name__)


def connect(url: str, service: str | None = None) -> Engine:
    """An engine for the URL. It opens no connection yet.

    Args:
        url: the database.
        service: the service whose rows the engine's connections read and write; None for the database's first service.

    Raises:
        ConfigurationError: the URL names no database that Stillsafe supports.
    """
    try:
        database_url = make_url(url)
        return _engine(database_url).execution_options(service=service)
    except NoSuchModuleError:
        remedy = "Leave out the + sign and the name after it, or name a driver that SQLAlchemy knows."
        raise ConfigurationError(f"There is no database driver {database_url.drivername}.", remedy) from None
    except (ArgumentError, ValueError):
        remedy = "Write for example sqlite:///stillsafe.db or postgresql://user@host/name."
        raise ConfigurationError("The database URL is not valid.", remedy) from None
    except ImportError:
        remedy = "Install it: pip install stillsafe[postgres]"
        raise ConfigurationError("PostgreSQL needs the package psycopg and its library.", remedy) from None


def _engine(url: URL) -> Engine:
    match url.get_backend_name():
        case "sqlite":
            engine = create_engine(
                url,
                json_serializer=storable_json,
                hide_parameters=True,  # an error must not show the values of a row
                json_deserializer=loads,
                connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
                # The last connection is used again: it knows what it has read. A database in memory has no such pool.
                **({"pool_use_lifo": True} if url.database not in (None, "", ":memory:") else {}),
            )
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            database_file.keep_file(engine)
            return engine
        case "postgresql":
            return database_server.engine_of(url)
        case other:
            raise ConfigurationError(f"Stillsafe does not support {other}.", "Write a sqlite or postgresql URL.")


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
def single_reading(engine: Engine) -> Iterator[Connection]:
    """A connection whose queries are a snapshot each, which spares a server the begin and the end of a transaction.

    Raises:
        StoreError: the database cannot be read.
    """
    if engine.dialect.name != "postgresql":
        with reading(engine) as connection:
            yield connection
        return
    try:
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")
    except (SQLAlchemyError, ValueError) as error:
        raise _store_error("read", error) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction, committed and synced to the disk when the block ends, rolled back when it raises.

    On SQLite the transaction takes the write lock at once, so that no row it has read changes before it writes. On
    PostgreSQL transactions write concurrently; one that reads the state in order to change it takes a `lock` first.

    Raises:
        StoreError: the database cannot be written.
    """
    with _transaction(engine) as connection:
        connection.info.pop(database_file.KNOWN_VALUE, None)
        yield connection


@contextmanager
def appending(engine: Engine) -> Iterator[RowConnection]:
    """As `writing`, for rows that are added to the log by statements whose results nobody reads.

    A server gets them together with the commit. A SQLite connection keeps what it knows of the rest.

    Raises:
        StoreError: the database cannot be written.
    """
    try:
        if engine.dialect.name == "sqlite":
            with driver_transaction(engine) as rows:
                yield rows
            return
        if not database_server.has_pipelines():
            with _transaction(engine) as connection:
                yield connection
            return
        with engine.connect() as connection:
            service_id(connection)  # a query, if the connection does not know it yet
            connection.rollback()
            with database_server.short_transaction(connection):
                yield connection
    except engine.dialect.loaded_dbapi.Error as error:  # of SQLite, or of statements that a pipeline's end waited for
        cause = DBAPIError.instance(None, None, error, type(error))
        cause.__cause__ = error
        raise _store_error("written", cause) from error
    except (SQLAlchemyError, ValueError) as error:
        raise _store_error("written", error) from error


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    try:
        # The option is the connection's: an engine of its own for each transaction takes longer than a row's insertion.
        with engine.connect() as connection, connection.execution_options(immediate=True).begin():
            yield connection
    except (SQLAlchemyError, ValueError) as error:
        raise _store_error("written", error) from error


@contextmanager
def driver_errors(engine: Engine, verb: str) -> Iterator[None]:
    """Turn the driver's errors into store errors, for a block that uses the driver directly.

    Args:
        engine: its driver raises the errors.
        verb: the participle of the sentence "The database cannot be ...".

    Raises:
        StoreError: the driver raised an error.
    """
    try:
        yield
    except engine.dialect.loaded_dbapi.Error as error:
        raise StoreError(f"The database cannot be {verb}: {error}.", reason=reason(error)) from error


def service_id(connection: RowConnection) -> int:
    """The id of the service whose rows a connection reads and writes; 0, which no row has, before it is registered."""
    name = connection.get_execution_options().get("service")
    if name is None:
        return FIRST_SERVICE
    ids: dict[str, int] = connection.info.setdefault(SERVICE_IDS, {})
    if name not in ids:
        if isinstance(connection, DriverConnection):
            row_id = connection.value(str(_OWN_ID), {"name": name})
        else:
            row_id = connection.execute(_OWN_ID, {"name": name}).scalar()
        if row_id is None:
            return 0
        ids[name] = int(row_id)
    return ids[name]


def upgrade(engine: Engine) -> None:
    """Migrate the database to this version's schema; one that has it already stays as it is.

    Nothing else creates a database. A database of a release without services becomes the engine's service.

    Raises:
        SchemaMismatch: the database is newer than this Stillsafe.
        StoreError: the database cannot be written.
    """
    database_revision = revision(engine)
    if database_revision not in {None, *known_revisions()}:
        raise SchemaMismatch("The database was written by a newer Stillsafe: upgrade the package.")
    if (file := database_file.file_of(engine)) is not None:
        try:
            create_private(file)
        except OSError as error:
            raise StoreError(f"The database {file} cannot be created: {error.strerror}.") from error
    # Only a migration needs it, and its import takes every command a quarter of the time that it starts in.
    from alembic import command
    from alembic.config import Config

    with writing(engine) as connection:
        lock(connection, "upgrade")
        if connection.dialect.name == "postgresql":
            database_server.require_unicode(connection)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        if database_revision is not None:
            config.attributes["service"] = engine.get_execution_options().get("service") or UNNAMED_SERVICE
        command.upgrade(config, "head")


def try_nested(connection: Connection, write: Callable[[], None]) -> Exception | None:
    """Write in a savepoint of a transaction; return the error with which it failed, or None. The rest stays."""
    try:
        with connection.begin_nested():
            write()
    except Exception as error:  # noqa: BLE001 - the transaction goes on, whatever it was
        return error
    return None


def truncate_write_ahead_log(engine: Engine) -> bool:
    """Move all of SQLite's write-ahead log into the file and empty it: it may hold rows that are deleted since.

    Returns:
        Whether it is empty now: False while another process reads from it, True where there is none.

    Raises:
        StoreError: the database cannot be written.
    """
    if engine.dialect.name == "sqlite":
        with reading(engine) as connection:
            connection.commit()
            driver: Any = connection.connection.driver_connection
            with driver_errors(engine, "written"):
                return not driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return True


def back_up(engine: Engine, file: Path) -> None:
    """Copy a SQLite database to a new file, as one snapshot, while others write.

    The copy gets its name once it is complete and on the disk.

    Raises:
        StoreError: the database cannot be read, or the copy cannot be written or exists already.
    """
    if file.exists():
        raise StoreError(f"{file} exists already: move it away first.")
    partial_file = file.with_name(file.name + ".partial")
    partial_file.unlink(missing_ok=True)
    try:
        create_private(partial_file)
        with (
            reading(engine) as connection,
            driver_errors(engine, "copied"),
            closing(sqlite3.connect(partial_file)) as copy,
        ):
            driver: Any = connection.connection.driver_connection
            driver.backup(copy)
        sync(partial_file)
        partial_file.rename(file)
        sync(file.parent)
    except OSError as error:
        raise StoreError(f"The database cannot be copied: {error}.") from error
    finally:
        partial_file.unlink(missing_ok=True)


def revision(engine: Engine) -> str | None:
    """The schema's revision in the database, or None where the database has no tables, or its file does not exist."""
    if (file := database_file.file_of(engine)) is not None and not file.exists():
        return None
    with reading(engine) as connection:
        if not engine.dialect.has_table(connection, "alembic_version"):
            return None
        number: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return number


def known_revisions() -> list[str]:
    """Every schema revision of this version, newest first."""
    return sorted((file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py")), reverse=True)


def require_current(engine: Engine) -> None:
    """Require this version's schema.

    Raises:
        SchemaMismatch: the database has another schema; the message names the remedy.
        StoreMissing: there is none, or it is empty.
    """
    database_revision, revisions = revision(engine), known_revisions()
    if database_revision == revisions[0]:
        return
    if database_revision is None:
        file = database_file.file_of(engine)
        problem = "The database has no tables." if file is None or file.exists() else f"There is no database {file}."
        raise StoreMissing(f"{problem} {MISSING_REMEDY}")
    if database_revision in revisions:
        raise SchemaMismatch("The database is of an older version: back it up, then run `stillsafe db upgrade`.")
    problem = f"The database is of a newer version ({database_revision}) than this Stillsafe"
    raise SchemaMismatch(f"{problem}: upgrade the package.")


def try_lock(engine: Engine, purpose: str) -> AbstractContextManager[bool]:
    """Lock a purpose on this database for a block that gets True, or False where another process has it.

    The kernel or the server releases the lock of a killed process.

    Raises:
        StoreError: the lock file cannot be opened, or the database cannot be read.
    """
    if engine.dialect.name != "sqlite":
        return _try_advisory_lock(engine, purpose)
    file = database_file.file_of(engine)
    return nullcontext(True) if file is None else try_lock_file(Path(f"{file}.{purpose}.lock"))


def lock(connection: Connection, purpose: str) -> None:
    """Wait for the lock of a purpose and keep it until the transaction ends. A SQLite transaction has it already.

    Raises:
        SQLAlchemyError: the wait exceeded the lock timeout; `writing` turns it into a StoreError.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(*database_server.lock_key(purpose))))


@contextmanager
def _try_advisory_lock(engine: Engine, purpose: str) -> Iterator[bool]:
    """A lock of the session, outside any transaction: a run may outlast the server's limit for transactions."""
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except SQLAlchemyError as error:
        raise _store_error("read", error) from error
    with connection:
        try:
            owns_lock = bool(
                connection.execute(select(func.pg_try_advisory_lock(*database_server.lock_key(purpose)))).scalar()
            )
        except SQLAlchemyError as error:
            connection.invalidate()
            raise _store_error("read", error) from error
        try:
            if owns_lock:
                database_server.await_writers(connection)
            yield owns_lock
        except SQLAlchemyError as error:
            raise _store_error("read", error) from error
        finally:
            if owns_lock:
                _release(connection, purpose)


def _release(connection: Connection, purpose: str) -> None:
    try:
        connection.execute(select(func.pg_advisory_unlock(*database_server.lock_key(purpose))))
    except SQLAlchemyError:  # a lost session loses its locks, too, as soon as the server notices
        connection.invalidate()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver begins transactions late, and none before reads, so its transaction control is switched off.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")  # overwrite deleted rows, whatever SQLite's own default
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("immediate", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:  # it touches no file, and every answer begins with it: the driver alone is faster
        connection.connection.cursor().execute("BEGIN")


def _store_error(verb: str, error: SQLAlchemyError | ValueError) -> Exception:
    """The error as a store error. A ValueError becomes one only where it concerns a stored value."""
    if isinstance(error, SQLAlchemyError):
        kind = StoreUnavailable if isinstance(error, _TRANSIENT) else StoreError
        cause = str(getattr(error, "orig", None) or error).splitlines()[0].rstrip(".")
        return kind(f"The database cannot be {verb}: {cause}.", reason=reason(error.__cause__))
    if "datetime string" in str(error) or "isoformat" in str(error):
        return StoreError(f"The database holds an invalid time: {error}.")
    if "not JSON compliant" in str(error) or "without a time zone" in str(error):
        return StoreError(f"The database cannot be {verb}: {error}.")
    return error


def reason(error: BaseException | None) -> str:
    """The reason of a SQLite error in words that any client may read; empty for other errors."""
    # The upper bits of the code are details that a client does not need.
    return _REASONS.get(error.sqlite_errorcode & 0xFF, "") if isinstance(error, sqlite3.Error) else ""
