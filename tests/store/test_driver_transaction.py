"""A transaction by the driver alone has the guarantees of every other: all rows or none, and errors of the store."""

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import Engine, func, select

from stillsafe.errors import StoreError, StoreUnavailable
from stillsafe.store import database, database_file
from stillsafe.store.driver_transaction import DriverConnection
from stillsafe.store.tables import prediction_logs
from stillsafe.store.write.predictions import append_predictions
from tests.store.conftest import prediction

COUNT = select(func.count()).select_from(prediction_logs)


def row_count(engine: Engine) -> int:
    """Rows that another connection sees."""
    other = database.connect(str(engine.url))
    with database.reading(other) as connection:
        count = int(connection.execute(COUNT).scalar_one())
    other.dispose()
    return count


def append(engine: Engine, *numbers: int) -> None:
    """Append rows."""
    with database.appending(engine) as connection:
        assert isinstance(connection, DriverConnection)
        append_predictions(connection, [prediction(number) for number in numbers])


def test_rows_are_there_when_the_block_has_ended_and_not_before(sqlite: Engine) -> None:
    """The write lock is taken at once; another process sees all rows or none."""
    with database.appending(sqlite) as connection:
        append_predictions(connection, [prediction(1), prediction(2)])
        assert row_count(sqlite) == 0
        with (
            closing(sqlite3.connect(str(sqlite.url.database), timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")
    assert row_count(sqlite) == 2


def test_a_block_that_raises_leaves_nothing(sqlite: Engine) -> None:
    """Whatever it raises; the connection is good for the next transaction, and holds no lock."""

    def fail(error: BaseException) -> None:
        with database.appending(sqlite) as connection:
            append_predictions(connection, [prediction(1)])
            raise error

    for error in (ZeroDivisionError(), KeyboardInterrupt(), StoreError("not this time")):
        with pytest.raises(type(error)):
            fail(error)
        assert row_count(sqlite) == 0
    append(sqlite, 1)
    assert row_count(sqlite) == 1


def test_a_row_that_is_refused_is_an_error_of_the_store(sqlite: Engine) -> None:
    """It takes the others with it, and the message has no value of a row."""
    append(sqlite, 1)
    with pytest.raises(StoreError, match="prediction_id") as failure:
        append(sqlite, 2, 1)
    assert not isinstance(failure.value, StoreUnavailable)
    assert "p1" not in str(failure.value)
    assert row_count(sqlite) == 1


def test_errors_that_may_pass_have_their_reason(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is not released, and a file that is gone, which no connection creates."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.05)
    hasty = database.connect(str(sqlite.url))
    with database.writing(sqlite), pytest.raises(StoreUnavailable, match="locked") as failure:
        append(hasty, 1)
    assert failure.value.reason == "the database is locked"
    append(hasty, 1)
    file = database_file.file_of(hasty)
    assert file is not None
    file.rename(file.with_suffix(".away"))
    with pytest.raises(StoreUnavailable, match="there is no file"):
        append(hasty, 2)
    assert not file.exists()
    hasty.dispose()


def test_a_writer_waits_for_another(sqlite: Engine) -> None:
    """As the transactions of SQLAlchemy do: both are written."""
    has_lock, may_end = Event(), Event()

    def hold() -> None:
        with database.writing(sqlite) as connection:
            append_predictions(connection, [prediction(1)])
            has_lock.set()
            may_end.wait(10)

    first = Thread(target=hold)
    first.start()
    assert has_lock.wait(10)
    second = Thread(target=append, args=(sqlite, 2))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    may_end.set()
    first.join(10)
    second.join(10)
    assert row_count(sqlite) == 2


def test_rows_belong_to_the_service_of_the_engine(tmp_path: Path) -> None:
    """Its number is read once by each connection; a service that is not registered has none."""
    url = f"sqlite:///{tmp_path / 'log.db'}"
    database.upgrade(database.connect(url, "first"))
    with database.appending(database.connect(url, "other")) as connection:
        assert database.service_id(connection) == 0
    engine = database.connect(url, "first")
    with database.reading(engine) as connection:
        number = database.service_id(connection)
    engine.dispose()
    for _ in range(2):
        with database.appending(engine) as connection:
            assert database.service_id(connection) == number
