"""A long prediction log, filled in bulk: rows that the product wrote, drawn again under other names and times."""

import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import Boolean

from stillsafe.store.tables import prediction_logs

PART = 100_000  # rows between two words of progress
_OWN = ("timestamp", "prediction_id")  # what each row has for itself
_COMMON_COLUMNS = tuple(column.name for column in prediction_logs.columns if column.name not in ("id", *_OWN))
_TRUTHS = [isinstance(prediction_logs.c[name].type, Boolean) for name in _COMMON_COLUMNS]
_BYTES_CACHED = 1_000_000_000
_TIME_SHIFT, _VERSION_AND_VARIANT, _RANDOM_BITS = 80, 7 << 76 | 0b10 << 62, 62

LogRow = tuple[Any, ...]


def read_rows(log: Path) -> list[LogRow]:
    """The rows of a log on SQLite as stored, without their times and ids."""
    connection = sqlite3.connect(log)
    try:
        return connection.execute(f"SELECT {', '.join(_COMMON_COLUMNS)} FROM prediction_logs").fetchall()  # noqa: S608
    finally:
        connection.close()


def fill(
    database: str,
    rows: Sequence[LogRow],
    count: int,
    start: datetime,
    end: datetime,
    advance: Callable[[int], object] = lambda _rows: None,
) -> None:
    """Append rows drawn at random from those given, evenly in time.

    Args:
        database: the URL of one that has its tables.
        rows: see `read_rows`.
        count: how many to append.
        start: of the span, aware UTC.
        end: just after it, aware UTC.
        advance: called with the number of rows after each part.
    """
    draw = random.Random(count)  # noqa: S311 - made-up traffic
    parts = range(0, count, PART)
    write = _to_sqlite if database.startswith("sqlite") else _to_postgresql
    for first in parts:
        size = min(PART, count - first)
        times = (start + (end - start) * ((first + i) / count) for i in range(size))
        write(database, ((at, identifier(at, draw), draw.choice(rows)) for at in times))
        advance(size)


def identifier(at: datetime, draw: random.Random) -> UUID:
    """A prediction id as the product makes them: a UUID of version 7, which begins with its time, aware UTC."""
    milliseconds = int(at.timestamp() * 1_000)
    return UUID(int=milliseconds << _TIME_SHIFT | _VERSION_AND_VARIANT | draw.getrandbits(_RANDOM_BITS))


def settle(database: str) -> None:
    """What a database that has grown slowly would have done by itself: statistics gathered, the log written back."""
    if database.startswith("sqlite"):
        connection = sqlite3.connect(_file(database))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return
    with psycopg.connect(database, autocommit=True) as connection_:
        connection_.execute("VACUUM ANALYZE prediction_logs")
        connection_.execute("CHECKPOINT")


def _file(database: str) -> Path:
    return Path(database.removeprefix("sqlite:///"))


def _to_sqlite(database: str, rows: Iterator[tuple[datetime, UUID, LogRow]]) -> None:
    names, places = ", ".join((*_OWN, *_COMMON_COLUMNS)), ", ".join("?" * (len(_OWN) + len(_COMMON_COLUMNS)))
    connection = sqlite3.connect(_file(database))
    try:
        connection.execute(f"PRAGMA cache_size=-{_BYTES_CACHED // 1024}")
        connection.execute("PRAGMA synchronous=OFF")
        with connection:
            connection.executemany(
                f"INSERT INTO prediction_logs ({names}) VALUES ({places})",  # noqa: S608
                (
                    (f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}", str(name), *row_values)
                    for at, name, row_values in rows
                ),
            )
    finally:
        connection.close()


def _to_postgresql(database: str, rows: Iterator[tuple[datetime, UUID, LogRow]]) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, (*_OWN, *_COMMON_COLUMNS)))
    command = sql.SQL("COPY prediction_logs ({}) FROM STDIN").format(columns)
    with psycopg.connect(database) as connection, connection.cursor().copy(command) as copy:
        for at, name, row_values in rows:
            values = (bool(value) if truth else value for value, truth in zip(row_values, _TRUTHS, strict=True))
            copy.write_row((at, str(name), *values))


def past_span(moment: datetime, days: int = 30) -> tuple[datetime, datetime]:
    """A span that ended an hour ago: no window reaches back to it."""
    return moment - timedelta(days=days), moment - timedelta(hours=1)
