"""The engine: SQLite in WAL mode with full sync by default, PostgreSQL by another URL; and the migrations."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError, SQLAlchemyError

from stillsafe.errors import ConfigurationError, SchemaMismatch, StoreError
from stillsafe.store.documents import dumps, loads

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_SECONDS = 10

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
        remedy = "Write for example sqlite:///stillsafe.db or postgresql+psycopg://user@host/name."
        raise ConfigurationError("The database's URL is not one.", remedy) from None
    except ModuleNotFoundError as error:
        remedy = "Install the driver that the URL names, for example psycopg."
        raise ConfigurationError(f"The database's URL needs the package {error.name}.", remedy) from None


def _engine(url: URL) -> Engine:
    match url.get_backend_name():
        case "sqlite":
            waiting = {"timeout": BUSY_TIMEOUT_SECONDS}
            engine = create_engine(url, json_serializer=dumps, json_deserializer=loads, connect_args=waiting)
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            if url.database and url.database != ":memory:":
                event.listen(engine, "connect", partial(_remember_file, Path(url.database)))
                event.listen(engine, "checkout", partial(_require_same_file, Path(url.database)))
            return engine
        case "postgresql":
            return create_engine(url, json_serializer=dumps, json_deserializer=loads, pool_pre_ping=True)
        case other:
            raise ConfigurationError(f"Stillsafe does not store in {other}.", "Use a sqlite or postgresql URL.")


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

    On SQLite it takes the write lock at once, so that what it reads is still true when it writes.

    Raises:
        StoreError: the database cannot be written.
    """
    try:
        with engine.execution_options(immediate=True).begin() as connection:
            yield connection
    except (SQLAlchemyError, ValueError) as error:
        raise _store_error("written", error) from error


def upgrade(engine: Engine) -> None:
    """Bring the database to this version's schema. Safe on one that is already there.

    Raises:
        StoreError: it cannot be written, or it is newer than this Stillsafe.
    """
    if revision(engine) not in {None, *known_revisions()}:
        raise SchemaMismatch("The database was written by a newer Stillsafe: upgrade the package.")
    with writing(engine) as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


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
    with reading(engine) as connection:
        query = select(func.pg_try_advisory_lock(func.hashtext(f"stillsafe:{purpose}")))
        taken = bool(connection.execute(query).scalar())
        try:
            yield taken
        finally:
            if taken:
                connection.execute(select(func.pg_advisory_unlock(func.hashtext(f"stillsafe:{purpose}"))))


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


def _remember_file(file: Path, _connection: Any, record: Any) -> None:
    record.info["file"] = _identity(file)


def _require_same_file(file: Path, _connection: Any, record: Any, _proxy: Any) -> None:
    """A database that was moved, deleted or restored is opened anew: the old file is nobody's log any more."""
    if record.info["file"] != _identity(file):
        raise DisconnectionError("the database file is another one now")


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _store_error(what: str, error: SQLAlchemyError | ValueError) -> Exception:
    """The error in our words. A ValueError is ours to translate only where a stored time is none."""
    if isinstance(error, SQLAlchemyError):
        return StoreError(f"The database cannot be {what}: {_cause(error)}.")
    if "datetime string" in str(error) or "isoformat" in str(error):
        return StoreError(f"The database holds a time that is none: {error}.")
    return error


def _cause(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0].rstrip(".")
