"""The file of a SQLite database: it is opened only where it exists, and again where it was replaced."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError

KNOWN_VALUE = "stillsafe_known_value"
"""Where a connection keeps what it has read, with its count of changes by others."""


def file_of(engine: Engine) -> Path | None:
    """The file of a SQLite database; None for a database server or a database in memory."""
    name = engine.url.database if engine.dialect.name == "sqlite" else None
    return Path(name) if name and name != ":memory:" else None


def revision_of_copy(file: Path) -> str | None:
    """The schema's revision in a copy that no process writes; None where it cannot be read. It stays as it is."""
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None


def change_count(connection: Connection) -> int | None:
    """How often others have changed the database, by the connection's own count; None for a database server.

    Within a transaction it is the count of the snapshot that the transaction reads.
    """
    return None if connection.dialect.name != "sqlite" else _change_count(connection.connection.driver_connection)


def keep_value(connection: Connection, count: int | None, value: object) -> None:
    """Keep what was read at a `change_count`, until others change the database or this connection may do so."""
    if count is not None:
        connection.info[KNOWN_VALUE] = count, value


def known_value(engine: Engine) -> object:
    """The value that a SQLite connection has kept, if a new query would read the same; else None."""
    if engine.dialect.name != "sqlite":
        return None
    try:
        connection = engine.raw_connection()
    except (SQLAlchemyError, sqlite3.Error):  # a query raises it again, and says what it means
        return None
    with closing(connection):
        count, value = connection.info.get(KNOWN_VALUE, (None, None))
        return value if count is not None and count == _change_count(connection.driver_connection) else None


def _change_count(driver: Any) -> int | None:
    try:
        row = driver.execute("PRAGMA data_version").fetchone()
    except sqlite3.Error:  # a query raises it again
        return None
    return int(row[0])


def keep_file(engine: Engine) -> None:
    """Have an engine's connections belong to the file that has the database's name now, and never create one."""
    if (file := file_of(engine)) is None:
        return
    names = [f"{file}{suffix}" for suffix in ("", "-wal", "-shm")]
    event.listen(engine, "do_connect", _open_sqlite)
    event.listen(engine, "connect", partial(_remember_files, names))
    event.listen(engine, "checkout", partial(_require_same_files, names))


def _open_sqlite(dialect: Any, _record: Any, arguments: Sequence[Any], parameters: Any) -> Any:
    """Open the file if it exists. SQLite alone would create one, so a file that was moved away would be replaced."""
    path = Path(arguments[0])
    try:
        return dialect.connect(f"{path.as_uri()}?mode=rw", uri=True, **parameters)
    except sqlite3.OperationalError as error:
        if not path.exists():
            error.args = (f"there is no file {path}",)
        raise


def _remember_files(files: Sequence[str], _connection: Any, record: Any) -> None:
    record.info["files"] = [_file_id(file) for file in files]


def _require_same_files(files: Sequence[str], _connection: Any, record: Any, _proxy: Any) -> None:
    """Have the pool reconnect after the database was moved, deleted or restored: the open files are no longer it."""
    old_ids, new_ids = record.info["files"], [_file_id(file) for file in files]
    # The WAL files appear with the first transaction, so an id that was None may change.
    if any(old not in (None, new) for old, new in zip(old_ids, new_ids, strict=True)):
        raise DisconnectionError("the files of the database were replaced")
    record.info["files"] = new_ids


def _file_id(file: str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino
