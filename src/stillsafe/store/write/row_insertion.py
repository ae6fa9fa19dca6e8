"""Inserts many rows by one statement of the driver.

SQLAlchemy's binding of a row costs more than SQLite's work. And a driver that gets rows one by one lets go of the
interpreter for each of them, which a busy server takes long to get back. PostgreSQL gets an array for each column, so
that its statement is the same for any number of rows, and prepared once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

from sqlalchemy import Dialect, Insert

from stillsafe.store.driver_transaction import RowConnection

ROWS_A_STATEMENT = 64
"""Most rows of a statement of SQLite: more values than some thousands are refused, and gain nothing."""
SHARING_ROWS_A_STATEMENT = 250
"""The same for rows that are equal in most columns."""
_SEPARATOR = "\x1f"
"""Between texts while their quotes are escaped: a control character, which JSON escapes and few texts have."""


def insert_rows(
    connection: RowConnection,
    insertion: Insert,
    columns: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    conflict: str = "",
) -> int:
    """Insert rows, in order.

    Args:
        connection: of the transaction.
        insertion: into the table, without values; one object for all calls.
        columns: the columns of a row, in the table's order.
        rows: per row the values as the driver takes them.
        conflict: the end of the statement, such as `ON CONFLICT ... DO NOTHING`.

    Returns:
        How many rows were inserted; meaningless in a transaction of `database.appending`.

    Raises:
        SQLAlchemyError: a row cannot be inserted.
    """
    if not rows:
        return 0
    if connection.dialect.name == "postgresql":
        return _insert_arrays(connection, insertion, columns, list(zip(*rows, strict=True)), conflict)
    count = 0
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        part = rows[start : start + ROWS_A_STATEMENT]
        statement = _statement(connection.dialect, insertion, columns, len(part), conflict)
        count += connection.exec_driver_sql(statement, tuple(chain.from_iterable(part))).rowcount
    return count


def insert_columns(
    connection: RowConnection, insertion: Insert, common: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]
) -> None:
    """Insert rows that are equal in most columns, in order.

    Args:
        connection: of the transaction.
        insertion: as in `insert_rows`.
        common: column -> the value of every row, as the driver takes it.
        columns: column -> a value per row, as the driver takes it.

    Raises:
        SQLAlchemyError: a row cannot be inserted.
    """
    names, count = (*common, *columns), len(next(iter(columns.values())))
    if connection.dialect.name == "postgresql":
        values = [*([value] * count for value in common.values()), *columns.values()]
        _insert_arrays(connection, insertion, names, values)
        return
    rows = list(zip(*columns.values(), strict=True))
    for start in range(0, len(rows), SHARING_ROWS_A_STATEMENT):
        part = rows[start : start + SHARING_ROWS_A_STATEMENT]
        statement = _sharing_statement(connection.dialect, insertion, names, len(common), len(part))
        connection.exec_driver_sql(statement, (*common.values(), *chain.from_iterable(part)))


def _insert_arrays(
    connection: RowConnection,
    insertion: Insert,
    columns: tuple[str, ...],
    values: Sequence[Sequence[Any]],
    conflict: str = "",
) -> int:
    statement = _array_statement(connection.dialect, insertion, columns, conflict)
    return connection.exec_driver_sql(statement, tuple(map(array_literal, values))).rowcount


def array_literal(values: Sequence[Any]) -> str:
    """An array as PostgreSQL writes it.

    Args:
        values: None, texts, numbers, truth values and aware times.
    """
    first, types = values[0], {*map(type, values)}
    if len(types) == 1 and types != {float} and values.count(first) == len(values):  # 0.0 and -0.0 are equal
        return f"{{{','.join(repeat(_element(first), len(values)))}}}"
    if types == {str}:
        text = _SEPARATOR.join(values)
        if text.count(_SEPARATOR) == len(values) - 1:
            return '{"' + _escape(text).replace(_SEPARATOR, '","') + '"}'
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, int):
        return str(value)
    return f'"{_escape(value.isoformat() if isinstance(value, datetime) else value)}"'


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


@lru_cache(maxsize=64)
def _array_statement(dialect: Dialect, insertion: Insert, columns: tuple[str, ...], conflict: str) -> str:
    """A statement of PostgreSQL with an array for each column."""
    types = [insertion.table.c[name].type.compile(dialect).partition(" COLLATE ")[0] for name in columns]
    arrays = ", ".join(f"CAST(%s AS {each}[])" for each in types)
    head = _head(dialect, insertion, columns)
    return f"{head} SELECT * FROM unnest({arrays}) {conflict}".rstrip()  # noqa: S608 - names of our own tables


@lru_cache(maxsize=64)
def _sharing_statement(
    dialect: Dialect, insertion: Insert, columns: tuple[str, ...], common_count: int, count: int
) -> str:
    """A statement of SQLite that binds the values of the first columns once for all rows, by their numbers."""
    common, width = "".join(f"?{number}," for number in range(1, common_count + 1)), len(columns) - common_count
    rows = (
        ",".join(f"?{number}" for number in range(first, first + width))
        for first in range(common_count + 1, common_count + 1 + count * width, width)
    )
    return f"{_head(dialect, insertion, columns)} VALUES {', '.join(f'({common}{row})' for row in rows)}"


@lru_cache(maxsize=8 * ROWS_A_STATEMENT)
def _statement(dialect: Dialect, insertion: Insert, columns: tuple[str, ...], count: int, conflict: str) -> str:
    """A statement of SQLite with a value for each column of each row."""
    row = f"({', '.join(repeat('?', len(columns)))})"
    return f"{_head(dialect, insertion, columns)} VALUES {', '.join([row] * count)} {conflict}".rstrip()


def _head(dialect: Dialect, insertion: Insert, columns: tuple[str, ...]) -> str:
    compiled = str(insertion.inline().compile(dialect=dialect, column_keys=list(columns)))
    return f"{compiled.partition(' (')[0]} ({', '.join(columns)})"
