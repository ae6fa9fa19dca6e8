"""Inserts many rows by one statement of the driver.

SQLAlchemy's binding of a row costs more than SQLite's work. And a driver that gets rows one by one lets go of the
interpreter for each of them, which a busy server takes long to get back.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Dialect, Insert

ROWS_A_STATEMENT = 64
"""Most rows of a statement: more values than some thousands are refused, and gain nothing."""
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


@lru_cache(maxsize=8 * ROWS_A_STATEMENT)
def _statement(dialect: Dialect, insertion: Insert, columns: tuple[str, ...], count: int, conflict: str) -> str:
    compiled = insertion.inline().compile(dialect=dialect, column_keys=list(columns))
    head, _, row = str(compiled).partition(" VALUES ")
    # Values by position, in the order of the columns: names would need a number for each row.
    row = _NAMED_VALUE.sub("%s", row)
    return f"{head} VALUES {', '.join([row] * count)} {conflict}".rstrip()
