"""The only place where requests are deleted, rows of `prediction_logs` and `refusals` by their ids; and `prunes`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert

from stillsafe.store import database
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.tables import metadata, prunes


def delete_requests(connection: Connection, requests: RequestTable, ids: Sequence[int]) -> int:
    """Delete these rows and no others; how many there were. A few thousand ids at most: each is a parameter."""
    table = metadata.tables[requests]
    return connection.execute(delete(table).where(table.c.id.in_(ids))).rowcount


def record_prune(
    connection: Connection, *, at: datetime, before: datetime, counts: Sequence[int], archive: str | None
) -> None:
    """Write down what is about to be deleted: predictions and refusals from before a time."""
    planned = {"prediction_count": counts[0], "refusal_count": counts[1], "archive": archive}
    connection.execute(insert(prunes).values(at=at, before=before, **planned))


def vacuum_database(engine: Engine) -> None:
    """Give the space of deleted rows back to the file system. SQLite lets nobody write meanwhile.

    Raises:
        StoreError: the database cannot be read or written.
    """
    # A vacuum takes no transaction around it, and the engine begins one by itself before every statement.
    with database.reading(engine) as connection:
        connection.commit()
        driver: Any = connection.connection.driver_connection
        with database.driver_errors(engine, "vacuumed"):
            if engine.dialect.name == "sqlite":
                driver.execute("VACUUM")
                return
            driver.autocommit = True
            try:
                driver.execute("VACUUM prediction_logs, refusals")
            finally:
                driver.autocommit = False
