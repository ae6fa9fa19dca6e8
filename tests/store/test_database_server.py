"""Connections to a server are tried when they were idle, and rows that are appended arrive with their commit."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, select, text

from stillsafe.errors import StoreError, StoreUnavailable
from stillsafe.store import database, database_server
from stillsafe.store.driver_transaction import RowConnection
from stillsafe.store.read.state import state_and_watch
from stillsafe.store.records import PredictionRecord
from stillsafe.store.tables import prediction_logs
from stillsafe.store.write.predictions import append_predictions
from tests.faults.proxy import Proxy
from tests.postgres import Postgres
from tests.store.conftest import prediction

COUNT = select(func.count()).select_from(prediction_logs)
KILL = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid")
OWN_PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def server(postgres_url: str) -> Iterator[Engine]:
    """An engine on a migrated database of a server."""
    engine = database.connect(postgres_url)
    database.upgrade(engine)
    yield engine
    engine.dispose()


def kill(postgres_url: str, pid: int) -> None:
    """End a session from another one, as a restart of the server or an impatient firewall does."""
    other = database.connect(postgres_url)
    with database.writing(other) as connection:
        connection.execute(KILL, {"pid": pid})
    other.dispose()


def pid_of(engine: Engine) -> int:
    """The server's process behind the engine's connection, which goes back to the pool."""
    with database.reading(engine) as connection:
        return int(connection.execute(OWN_PID).scalar_one())


def test_a_connection_that_was_idle_is_replaced_if_it_is_dead(
    server: Engine, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was just used is not tried: its error is that of a server that is out, and the next use connects."""
    monkeypatch.setattr(database_server, "UNTRIED_SECONDS", 0.0)
    kill(postgres_url, first := pid_of(server))
    assert pid_of(server) != first
    monkeypatch.setattr(database_server, "UNTRIED_SECONDS", 60.0)
    kill(postgres_url, second := pid_of(server))
    with pytest.raises(StoreUnavailable):
        pid_of(server)
    assert pid_of(server) != second


def test_a_trial_leaves_no_transaction_open(server: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is used again, after a trial and without one, and outside any transaction."""
    statuses = []
    event.listen(server, "checkout", lambda connection, *_: statuses.append(connection.info.transaction_status))
    pid_of(server)
    first = pid_of(server)
    assert pid_of(server) == first
    monkeypatch.setattr(database_server, "UNTRIED_SECONDS", 0.0)
    assert pid_of(server) == first
    assert {status.name for status in statuses} == {"IDLE"}


def append_then_divide_by_zero(connection: RowConnection) -> None:
    """A block that raises after it has sent a row."""
    append_predictions(connection, [prediction(3)])
    raise ZeroDivisionError


def fail_and_go_on(connection: RowConnection) -> None:
    """A block that has sent a row and takes the error of a statement for none."""
    append_predictions(connection, [prediction(1)])
    assert isinstance(connection, Connection)
    driver: Any = connection.connection.driver_connection
    with suppress(Exception), driver.pipeline():
        driver.execute("SELECT 1 / 0")


def append_after_a_kill(connection: RowConnection, postgres_url: str, records: Sequence[PredictionRecord]) -> None:
    """Send a row after others, whose session is ended meanwhile."""
    append_predictions(connection, records)
    assert isinstance(connection, Connection)
    driver: Any = connection.connection.driver_connection
    kill(postgres_url, driver.info.backend_pid)
    append_predictions(connection, [prediction(10)])


@pytest.mark.parametrize("transaction", [database.appending, database.writing])
def test_appended_rows_are_there_when_the_block_has_ended(
    engine: Engine, transaction: Callable[[Engine], AbstractContextManager[RowConnection]]
) -> None:
    """All of them, in their order, on both stores."""
    with transaction(engine) as connection:
        append_predictions(connection, [prediction(number) for number in range(70)])
        append_predictions(connection, [prediction(70)])
    with database.reading(engine) as connection:
        query = select(prediction_logs.c.prediction_id).order_by(prediction_logs.c.id)
        assert connection.execute(query).scalars().all() == [f"p{number}" for number in range(71)]


def test_a_row_that_is_refused_takes_the_others_with_it(engine: Engine) -> None:
    """The error comes at the latest with the end of the block; the connection is good for the next transaction."""
    with database.appending(engine) as connection:
        append_predictions(connection, [prediction(1)])
    with pytest.raises(StoreError, match="prediction_id"), database.appending(engine) as connection:
        append_predictions(connection, [prediction(2), prediction(1)])
    with pytest.raises(ZeroDivisionError), database.appending(engine) as connection:
        append_then_divide_by_zero(connection)
    with database.appending(engine) as connection:
        append_predictions(connection, [prediction(4)])
    with database.reading(engine) as connection:
        assert set(connection.execute(select(prediction_logs.c.prediction_id)).scalars()) == {"p1", "p4"}


def test_a_commit_that_the_server_made_a_rollback_of_is_an_error(server: Engine) -> None:
    """No row is acknowledged because nobody looked at the error before."""
    with pytest.raises(StoreError, match="ROLLBACK to COMMIT"), database.appending(server) as connection:
        fail_and_go_on(connection)
    with database.appending(server) as connection:
        append_predictions(connection, [prediction(2)])
    with database.reading(server) as connection:
        assert connection.execute(select(prediction_logs.c.prediction_id)).scalars().all() == ["p2"]


def test_a_server_that_goes_away_is_an_outage(server: Engine, postgres_url: str) -> None:
    """Before or after the rows were sent: nothing is stored, and the next transaction connects anew."""
    for records in ([], [prediction(1)]):
        with pytest.raises(StoreUnavailable), database.appending(server) as connection:
            append_after_a_kill(connection, postgres_url, records)
    with database.appending(server) as connection:
        append_predictions(connection, [prediction(20)])
    with database.reading(server) as connection:
        assert connection.execute(select(prediction_logs.c.prediction_id)).scalars().all() == ["p20"]


def test_the_monitor_waits_for_rows_that_are_being_appended(server: Engine, postgres_url: str) -> None:
    """The lock is there before the block begins, although its statement was sent with others."""
    other = database.connect(postgres_url)
    query = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted")
    with database.appending(server) as connection:
        append_predictions(connection, [prediction(1)])
        with database.reading(other) as reader:
            assert reader.execute(query).scalar_one() == 1
            assert reader.execute(COUNT).scalar_one() == 0
    other.dispose()


@pytest.mark.parametrize("count", [1, 64])
def test_a_batch_waits_three_times_for_the_server(postgres: Postgres, postgres_url: str, count: int) -> None:
    """For the state, for the begin with its lock, and for the rows with the commit, however many they are."""
    database.upgrade(engine := database.connect(postgres_url))
    engine.dispose()
    proxy = Proxy(postgres.port)
    far_engine = database.connect(postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/"))
    for batch in range(8):  # the driver prepares a statement that it has sent a few times
        proxy.exchange_count = 0
        with database.single_reading(far_engine) as connection:
            state_and_watch(connection, "1")
        with database.appending(far_engine) as connection:
            append_predictions(connection, [prediction(batch * count + number) for number in range(count)])
    far_engine.dispose()
    proxy.close()
    assert proxy.exchange_count == 3


def test_a_single_reading_sees_what_is_committed_at_each_query(engine: Engine) -> None:
    """On SQLite it is a snapshot, which is as good for one query; it leaves the connection as it was."""
    with database.single_reading(engine) as connection:
        assert connection.execute(COUNT).scalar_one() == 0
    with database.writing(engine) as connection:
        append_predictions(connection, [prediction(1)])
    with database.single_reading(engine) as connection:
        assert connection.execute(COUNT).scalar_one() == 1
    with pytest.raises(StoreError), database.writing(engine) as connection:
        append_predictions(connection, [prediction(2), prediction(1)])
    with database.reading(engine) as connection:
        assert connection.execute(COUNT).scalar_one() == 1
