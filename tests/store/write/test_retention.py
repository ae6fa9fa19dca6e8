"""Retention: only the given rows are deleted, every prune is recorded, and the space is returned."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, select

from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.read.requests import RequestTable, prediction_count, pruned_before
from stillsafe.store.tables import prediction_logs, prunes
from stillsafe.store.write.predictions import append_predictions
from stillsafe.store.write.retention import delete_requests, record_prune, vacuum_database
from tests.store.conftest import at, prediction, write
from tests.store.read.rows import log_refusals


def test_only_the_given_rows_are_deleted(connection: Connection) -> None:
    """The count is that of the rows that existed; the other table stays as it is."""
    append_predictions(connection, [prediction(number) for number in range(4)])
    log_refusals(connection, 1, 2)
    assert delete_requests(connection, RequestTable.PREDICTIONS, [1, 3, 99]) == 2
    assert connection.execute(select(prediction_logs.c.id).order_by(prediction_logs.c.id)).scalars().all() == [2, 4]
    assert delete_requests(connection, RequestTable.REFUSALS, [1, 2]) == 2


def test_ids_are_not_assigned_again(connection: Connection) -> None:
    """A row that comes after the newest was deleted has a higher id, so no run counts it as an older one."""
    append_predictions(connection, [prediction(1), prediction(2)])
    delete_requests(connection, RequestTable.PREDICTIONS, [2])
    append_predictions(connection, [prediction(3)])
    assert connection.execute(select(prediction_logs.c.id).order_by(prediction_logs.c.id)).scalars().all() == [1, 3]


def test_the_latest_prune_is_known(connection: Connection) -> None:
    """Of several prunes the one that reached furthest counts."""
    assert pruned_before(connection) is None
    record_prune(connection, at=at(60), end=at(30), counts=[5, 2], archive="archive")
    record_prune(connection, at=at(90), end=at(20), counts=[0, 0], archive=None)
    assert pruned_before(connection) == at(30)
    rows = connection.execute(select(prunes.c.prediction_count, prunes.c.refusal_count, prunes.c.archive)).all()
    assert [tuple(row) for row in rows] == [(5, 2, "archive"), (0, 0, None)]


def test_a_vacuum_keeps_every_row(engine: Engine) -> None:
    """It runs outside a transaction, on both databases."""
    write(engine, *(prediction(number) for number in range(10)))
    vacuum_database(engine)
    with database.reading(engine) as connection:
        assert prediction_count(connection) == 10


def test_a_vacuum_returns_the_space(sqlite: Engine, tmp_path: Path) -> None:
    """The file of a SQLite database shrinks."""
    write(sqlite, *(prediction(number) for number in range(5_000)))
    with database.writing(sqlite) as connection:
        delete_requests(connection, RequestTable.PREDICTIONS, range(1, 5_001))
    with sqlite.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    size = (tmp_path / "log.db").stat().st_size
    vacuum_database(sqlite)
    with sqlite.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / "log.db").stat().st_size < size / 2


def test_a_vacuum_of_a_damaged_database_is_a_store_error(file: Path) -> None:
    """The driver's error becomes a store error."""
    content = bytearray(file.read_bytes())
    content[4096 * 2 :] = b"\xff" * len(content[4096 * 2 :])
    file.write_bytes(content)
    engine = database.connect(f"sqlite:///{file}")
    with pytest.raises(StoreError, match=r"cannot be (vacuumed|read)"):
        vacuum_database(engine)
    engine.dispose()
