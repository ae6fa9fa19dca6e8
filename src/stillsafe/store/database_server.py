"""Connections to a PostgreSQL server: their settings, when they are tried, and the locks of transactions."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, Function, create_engine, event, func, select, text
from sqlalchemy.exc import DisconnectionError

from stillsafe.errors import ConfigurationError, StoreError
from stillsafe.store.codec import loads, storable_json

BUSY_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 5
UNTRIED_SECONDS = 1.0
"""A connection whose last use is not longer ago is used again without a trial, which would take as long as a query."""
_LAST_USE = "stillsafe_last_use"
_LOCK_CLASS = 0x5AFE
"""The first of the two numbers of every advisory lock of Stillsafe."""
_BEGIN_AS_WRITER = f"""
    BEGIN;
    SELECT pg_advisory_xact_lock_shared({_LOCK_CLASS}, hashtext(concat('writing', ':', current_schema())))
"""
_PREPARATION = """
    SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                      WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
           set_config('lock_timeout', %s, false),
           set_config('TimeZone', 'UTC', false),
           set_config('extra_float_digits', '1', false)
"""


def engine_of(url: URL) -> Engine:
    """An engine for the URL of a server. It opens no connection yet.

    Raises:
        ConfigurationError: the URL names another driver than psycopg 3.
    """
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        remedy = "Leave out the + sign and the name after it."
        raise ConfigurationError("Stillsafe uses psycopg 3 for PostgreSQL and no other driver.", remedy)
    arguments: dict[str, Any] = {"client_encoding": "utf8"}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT_SECONDS
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        json_serializer=storable_json,
        hide_parameters=True,  # an error must not show the values of a row
        json_deserializer=loads,
        connect_args=arguments,
        isolation_level="READ COMMITTED",
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _require_answer)
    return engine


def lock_key(purpose: str) -> tuple[int, Function[int]]:
    """The two numbers of an advisory lock: Stillsafe's, and the purpose's in the schema that holds the tables."""
    return _LOCK_CLASS, func.hashtext(func.concat(purpose, ":", func.current_schema()))


def await_writers(connection: Connection) -> None:
    """Wait until every transaction that was writing has ended.

    Row ids and timestamps are assigned before the commit. Without this wait a row could appear inside a window that
    a run has already analysed, and a replay of that run would count it.
    """
    connection.execute(select(func.pg_advisory_lock(*lock_key("writing"))))
    connection.execute(select(func.pg_advisory_unlock(*lock_key("writing"))))


_NOTE_WRITER = select(func.pg_advisory_xact_lock_shared(*lock_key("writing")))


def require_unicode(connection: Connection) -> None:
    """Require that the database can hold every text.

    Raises:
        StoreError: it has another encoding.
    """
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise StoreError(f"The database is encoded in {encoding}: create it with ENCODING 'UTF8'.")


def has_pipelines() -> bool:
    """Whether the driver's library can send a statement before the one before it is answered."""
    import psycopg

    return psycopg.Pipeline.is_supported()


@contextmanager
def short_transaction(connection: Connection) -> Iterator[None]:
    """A transaction of a writer, whose statements have no results: it begins by one message and ends by another.

    Args:
        connection: outside any transaction.

    Raises:
        psycopg.Error: a statement failed; nothing is stored.
        StoreError: a statement failed whose error the block took for none; nothing is stored.
    """
    connection.execution_options(isolation_level="AUTOCOMMIT")  # the driver would send both ends by themselves
    driver: Any = connection.connection.driver_connection
    with connection.begin():
        driver.execute(_BEGIN_AS_WRITER)
        with driver.pipeline():
            yield
            end = driver.execute("COMMIT")
        if end.statusmessage != "COMMIT":  # a server answers so, without an error, after a statement that failed
            raise StoreError(f"The database cannot be written: it answered {end.statusmessage} to COMMIT.")


def _prepare(connection: Any, _record: Any) -> None:
    """Set durability, lock timeout, time zone and exact numbers, whatever the server's or the role's defaults."""
    connection.autocommit = True  # a rollback would undo a setting made in a transaction
    with connection.cursor() as cursor:
        cursor.execute(_PREPARATION, (f"{round(BUSY_TIMEOUT_SECONDS * 1000)}ms",))
    connection.autocommit = False


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("immediate", False):
        connection.execute(_NOTE_WRITER)


def _note_use(_connection: Any, record: Any) -> None:
    record.info[_LAST_USE] = time.monotonic()


def _require_answer(connection: Any, record: Any, _proxy: Any) -> None:
    """Have the pool connect anew where a connection that was idle does not answer any more."""
    last_use = record.info.get(_LAST_USE)
    if last_use is None or time.monotonic() - last_use <= UNTRIED_SECONDS:
        return
    try:
        connection.autocommit = True
        connection.execute("SELECT 1")
        connection.autocommit = False
    except Exception as error:
        raise DisconnectionError("the server has closed the connection") from error
