"""DELETE of `prediction_logs`, `refusals` and explanations by row id, and INSERT of `prunes`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert

from stillsafe.store import database
from stillsafe.store.read.requests import RequestTable
from stillsafe.store.read.retention import AgedTable, aged_row_ids
from stillsafe.store.tables import metadata, prunes
from stillsafe.store.write.labels import delete_labels, delete_labels_of
from stillsafe.store.write.request_id import delete_ids_of


def delete_requests(connection: Connection, requests: RequestTable, ids: Sequence[int]) -> int:
    """Delete rows and return how many there were. At most a few thousand ids, since each is a SQL parameter."""
    table = metadata.tables[requests]
    if requests is RequestTable.PREDICTIONS:
        delete_ids_of(connection, ids)
        delete_labels_of(connection, ids)
    return connection.execute(delete(table).where(table.c.id.in_(ids))).rowcount


def delete_aged_rows(connection: Connection, kind: AgedTable, end: datetime, limit: int) -> int:
    """Delete the oldest rows from before a time, at most so many; return how many there were."""
    row_ids = aged_row_ids(connection, kind, end, limit)
    if kind is AgedTable.LABELS:
        delete_labels(connection, row_ids)
        return len(row_ids)
    table = metadata.tables[kind]
    return connection.execute(delete(table).where(table.c.id.in_(row_ids))).rowcount


def record_prune(
    connection: Connection, *, at: datetime, end: datetime, counts: Sequence[int], archive: str | None
) -> None:
    """Insert a prune, before it deletes anything: the counts of predictions and refusals from before `end`."""
    columns = {"prediction_count": counts[0], "refusal_count": counts[1], "archive": archive}
    connection.execute(insert(prunes).values(service_id=database.service_id(connection), at=at, before=end, **columns))


def vacuum_database(engine: Engine) -> None:
    """Return the space of deleted rows to the file system. On SQLite other writers wait meanwhile.

    Raises:
        StoreError: the database cannot be read or written.
    """
    # VACUUM must not run in a transaction, and SQLAlchemy begins one before every statement, so the driver runs it.
    with database.reading(engine) as connection:
        connection.commit()
        driver: Any = connection.connection.driver_connection
        with database.driver_errors(engine, "vacuumed"):
            if engine.dialect.name == "sqlite":
                driver.execute("VACUUM")
                return
            driver.autocommit = True
            try:
                driver.execute("VACUUM prediction_logs, refusals, labels, request_ids, request_duplicates")
            finally:
                driver.autocommit = False
