"""A transaction of SQLite by the driver alone: SQLAlchemy's part of it takes as long as a row's insertion."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, PoolProxiedConnection


class DriverConnection:
    """What inserting rows needs of a connection.

    Args:
        engine: of the database.
        connection: one of its pool.
    """

    def __init__(self, engine: Engine, connection: PoolProxiedConnection) -> None:
        self.dialect: Dialect = engine.dialect
        self.info: dict[Any, Any] = connection.info
        self._options = engine.get_execution_options()
        self._driver: Any = connection.driver_connection

    def get_execution_options(self) -> Mapping[str, Any]:
        """The engine's."""
        return self._options

    def exec_driver_sql(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Execute a statement; return the driver's cursor.

        Raises:
            sqlite3.Error: it cannot be executed.
        """
        return self._driver.execute(statement, parameters)

    def value(self, query: str, parameters: Mapping[str, Any]) -> Any:
        """The first value of a query's first row; None without a row.

        Raises:
            sqlite3.Error: it cannot be executed.
        """
        row = self._driver.execute(query, parameters).fetchone()
        return None if row is None else row[0]


RowConnection = Connection | DriverConnection
"""A connection that inserts rows."""


@contextmanager
def driver_transaction(engine: Engine) -> Iterator[DriverConnection]:
    """A transaction with the write lock, committed and synced when the block ends, rolled back when it raises.

    Raises:
        sqlite3.Error, SQLAlchemyError: the database cannot be written.
    """
    pooled_connection = engine.raw_connection()
    try:
        connection = DriverConnection(engine, pooled_connection)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            pooled_connection.rollback()
            raise
        pooled_connection.commit()
    finally:
        pooled_connection.close()
