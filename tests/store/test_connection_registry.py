"""Aborting connections: a thread that waits for the server gets an error, and the next use connects anew."""

import time
from threading import Timer

import pytest
from sqlalchemy import Engine, text

from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.connection_registry import ConnectionRegistry, connection_timeout


@pytest.fixture
def postgresql(postgres_url: str) -> Engine:
    """An engine on an empty PostgreSQL database."""
    return database.connect(postgres_url)


def wait(engine: Engine, seconds: float) -> None:
    with database.reading(engine) as connection:
        connection.execute(text(f"SELECT pg_sleep({seconds})"))


def test_a_waiting_thread_gets_an_error(postgresql: Engine) -> None:
    """An aborted query raises a store error long before the server answers."""
    registry = ConnectionRegistry(postgresql)
    timer = Timer(0.3, registry.abort)
    timer.start()
    start = time.monotonic()
    with pytest.raises(StoreError, match="cannot be read"):
        wait(postgresql, 60)
    assert time.monotonic() - start < 30
    timer.join()
    wait(postgresql, 0)
    postgresql.dispose()


def test_a_block_that_is_too_slow_is_aborted(postgresql: Engine) -> None:
    """The block gets the error of a lost connection after the timeout."""
    start = time.monotonic()
    with pytest.raises(StoreError, match="cannot be read"), connection_timeout(postgresql, 0.3):
        wait(postgresql, 60)
    assert time.monotonic() - start < 30
    postgresql.dispose()


def test_a_block_that_is_in_time_is_not_aborted(postgresql: Engine) -> None:
    """After the block the timer has no effect."""
    with connection_timeout(postgresql, 0.5):
        wait(postgresql, 0)
    wait(postgresql, 0.8)
    postgresql.dispose()


def test_sqlite_connections_are_never_aborted(sqlite: Engine) -> None:
    """SQLite has no sockets: a slow block ends normally."""
    with connection_timeout(sqlite, 0.01), database.reading(sqlite) as connection:
        time.sleep(0.1)
        assert connection.execute(text("SELECT 1")).scalar() == 1


def test_a_registry_on_sqlite_lets_it_open_any_number_of_connections(sqlite: Engine) -> None:
    """A connection that the pool opens after the registry was created works like the first, also after an abort."""
    registry = ConnectionRegistry(sqlite)
    for _ in range(2):
        with database.reading(sqlite) as first, database.reading(sqlite) as second:
            assert first.execute(text("SELECT 1")).scalar() == second.execute(text("SELECT 1")).scalar() == 1
        registry.abort()
