"""Inserts many rows by one statement of the driver.

SQLAlchemy's binding of a row costs more than SQLite's work. And a driver that gets rows one by one lets go of the
interpreter for each of them, which a busy server takes long to get back.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

from sqlalchemy import Connection, Dialect, Insert

ROWS_A_STATEMENT = 64
"""Most rows of a statement: more values than some thousands are refused, and gain nothing."""
SHARING_ROWS_A_STATEMENT = 250
"""The same for rows that are equal in most columns."""
_NAMED_VALUE = re.compile(r"%\(\w+\)s")


def insert_rows(
    connection: Connection,
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
        How many rows were inserted.

    Raises:
        SQLAlchemyError: a row cannot be inserted.
    """
    count = 0
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        part = rows[start : start + ROWS_A_STATEMENT]
        statement = _statement(connection.dialect, insertion, columns, len(part), conflict)
        count += connection.exec_driver_sql(statement, tuple(chain.from_iterable(part))).rowcount
    return count


def insert_columns(
    connection: Connection, insertion: Insert, common: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]
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
    names = (*common, *columns)
    if connection.dialect.paramstyle != "qmark":
        count = len(next(iter(columns.values())))
        table_columns = [each.name for each in insertion.table.columns if each.name in names]
        values = (columns[name] if name in columns else repeat(common[name], count) for name in table_columns)
        insert_rows(connection, insertion, tuple(table_columns), list(zip(*values, strict=True)))
        return
    rows = list(zip(*columns.values(), strict=True))
    for start in range(0, len(rows), SHARING_ROWS_A_STATEMENT):
        part = rows[start : start + SHARING_ROWS_A_STATEMENT]
        statement = _sharing_statement(connection.dialect, insertion, names, len(common), len(part))
        connection.exec_driver_sql(statement, (*common.values(), *chain.from_iterable(part)))


@lru_cache(maxsize=64)
def _sharing_statement(
    dialect: Dialect, insertion: Insert, columns: tuple[str, ...], common_count: int, count: int
) -> str:
    """A statement of SQLite that binds the values of the first columns once for all rows, by their numbers."""
    head, _, _ = str(insertion.inline().compile(dialect=dialect, column_keys=list(columns))).partition(" (")
    common, width = "".join(f"?{number}," for number in range(1, common_count + 1)), len(columns) - common_count
    rows = (
        ",".join(f"?{number}" for number in range(first, first + width))
        for first in range(common_count + 1, common_count + 1 + count * width, width)
    )
    return f"{head} ({', '.join(columns)}) VALUES {', '.join(f'({common}{row})' for row in rows)}"


@lru_cache(maxsize=8 * ROWS_A_STATEMENT)
def _statement(dialect: Dialect, insertion: Insert, columns: tuple[str, ...], count: int, conflict: str) -> str:
    compiled = insertion.inline().compile(dialect=dialect, column_keys=list(columns))
    head, _, row = str(compiled).partition(" VALUES ")
    # Values by position, in the order of the columns: names would need a number for each row.
    row = _NAMED_VALUE.sub("%s", row)
    return f"{head} VALUES {', '.join([row] * count)} {conflict}".rstrip()
